package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// A lane is one way to the same application.
type lane struct {
	name string
	what string // is on, and what is not
	at   place
	goal goal
}

// A goal is what a lane was meant to reach beside nginx; zero for none.
type goal struct{ rate, added float64 }

// The lanes that others are compared with.
const (
	straight = "straight"
	peer     = "nginx proxy_pass"
)

// A variant is one way to run our own process.
type variant struct {
	name, what string
	args       []string
	goal       goal
}

// The names of variants that are compared with each other.
const (
	directPath  = "IsoCore, own path"
	stockPath   = "IsoCore, stock transport"
	directPlain = "own path, plain"
	stockPlain  = "stock transport, plain"
)

var variants = []variant{
	{directPath, "identity, Txn-Token for 5 s", []string{"-transport", "direct", "-reuse", "5s"}, goal{0.55, 1.8}},
	{stockPath, "identity, Txn-Token for 5 s", []string{"-transport", "stock", "-reuse", "5s"}, goal{0.38, 2.7}},
	{"IsoCore, own path, each", "identity, a Txn-Token each", []string{"-transport", "direct", "-reuse", "0s"}, goal{}},
	{"IsoCore, own path, audit", "identity, Txn-Token for 5 s, audit trail", []string{"-transport", "direct", "-reuse", "5s", "-audit", "on"}, goal{}},
	{directPlain, "proxying only", []string{"-transport", "direct", "-identity", "off"}, goal{}},
	{stockPlain, "proxying only", []string{"-transport", "stock", "-identity", "off"}, goal{}},
}

// A reading is what one lane gave in one round.
type reading struct {
	load
	latencies
}

// A scoreboard has the readings of each lane, one a round.
type scoreboard map[string][]reading

// benchEdge measures the lanes and returns their section.
func benchEdge(ctx context.Context, dir string, s settings) (text string, err error) {
	var w crew
	defer func() { err = errors.Join(err, w.close()) }()
	lanes, err := w.lanes(ctx, dir)
	if err != nil {
		return "", err
	}
	board := scoreboard{}
	for round := range s.rounds {
		if err := board.round(ctx, dir, lanes, s); err != nil {
			return "", err
		}
		for _, l := range lanes {
			r := board[l.name][round]
			fmt.Printf("round %d  %-26s %8.0f/s  p50 %v  p90 %v  p99 %v\n", round+1, l.name, r.rate, r.p50, r.p90, r.p99)
		}
	}
	cached, err := cacheHits(ctx)
	if err != nil {
		return "", err
	}
	return reportEdge(lanes, board, cached, s), nil
}

// round measures each lane once more.
func (b scoreboard) round(ctx context.Context, dir string, lanes []lane, s settings) error {
	var places []place
	for _, l := range lanes {
		places = append(places, l.at)
	}
	took, err := oneByOne(places)
	if err != nil {
		return err
	}
	_, noWrk := exec.LookPath("wrk")
	for i, l := range lanes {
		r := reading{latencies: took[i]}
		if noWrk == nil {
			if r.load, err = atOnceTo(ctx, dir, l.at, s.seconds); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
		}
		b[l.name] = append(b[l.name], r)
	}
	return nil
}

// lanes starts the application, its proxies, and returns the ways to it.
func (w *crew) lanes(ctx context.Context, dir string) ([]lane, error) {
	app, err := w.application(ctx, dir)
	if err != nil {
		return nil, err
	}
	ways := []lane{{name: straight, what: "no proxy", at: app}}
	if _, err := findNginx(); err == nil {
		at, err := w.proxy(ctx, dir, app)
		if err != nil {
			return nil, err
		}
		ways = append(ways, lane{name: peer, what: "keep-alive to the application", at: at})
	}
	for i, v := range variants {
		args := append([]string{"serve-edge", "-upstream", app.Address, "-dir", filepath.Join(dir, fmt.Sprint("edge", i))}, v.args...)
		at, err := w.again(ctx, args...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		ways = append(ways, lane{v.name, v.what, at, v.goal})
	}
	return ways, nil
}

// application starts what answers: an nginx or, without one, a server of ours.
func (w *crew) application(ctx context.Context, dir string) (place, error) {
	if _, err := findNginx(); err != nil {
		fmt.Println("without nginx, which is missing: the application is net/http, and there is no peer")
		return w.again(ctx, "serve-app")
	}
	at, err := free()
	if err != nil {
		return place{}, err
	}
	err = w.nginx(ctx, filepath.Join(dir, "app"), "1", fmt.Sprintf("server { listen %s; location / { default_type application/json; return 200 '%s'; } }\n", at, answered))
	if err != nil {
		return place{}, err
	}
	return place{Address: at, Host: at}, answers(ctx, at)
}

// proxy starts the peer.
func (w *crew) proxy(ctx context.Context, dir string, app place) (place, error) {
	at, err := free()
	if err != nil {
		return place{}, err
	}
	err = w.nginx(ctx, filepath.Join(dir, "peer"), "auto", fmt.Sprintf("upstream app { server %s; keepalive 64; keepalive_requests 1000000000; }\n"+
		"server { listen %s; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; } }\n", app.Address, at))
	if err != nil {
		return place{}, err
	}
	return place{Address: at, Host: at}, answers(ctx, at)
}

// each returns the median over the rounds of what f makes of the readings of
// two lanes in the same round.
func (b scoreboard) each(a, other string, f func(a, other reading) float64) float64 {
	var values []float64
	for i := range min(len(b[a]), len(b[other])) {
		values = append(values, f(b[a][i], b[other][i]))
	}
	return middle(values)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
