package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The request that is made, and the answer: as small as a call of an API.
const (
	asked    = `{"query":"which of my notes are about insulin?","limit":10,"cursor":null}`
	answered = `{"notes":[{"id":"9b2f1c0e","title":"Insulin, first week","created":"2026-11-02T09:14:00Z"},` +
		`{"id":"51c7aa20","title":"Insulin, dose by weight","created":"2026-11-09T16:40:00Z"}],"next":"b64:eyJhZnRlciI6MjAwMH0=","total":2,"took":3}`
)

// Bounds of the sequential client.
const (
	warmup   = 500
	sequence = 3000
	slice    = 100 // in a row on one lane, before it is the next one's turn
	patience = 30 * time.Second
)

// A place is where a lane begins: an address, and what is said there.
type place struct {
	Address string `json:"address"`
	Host    string `json:"host"`
	Token   string `json:"token"`
}

// latencies are of single requests, one after the other.
type latencies struct{ p50, p90, p99 time.Duration }

// A caller makes requests on one connection, one after the other.
type caller struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	took    []time.Duration
}

// oneByOne calls each of places on a connection of its own, in turns so short
// that what else the machine does is everybody's alike, and returns how long
// requests took.
func oneByOne(places []place) (all []latencies, err error) {
	var callers []*caller
	defer func() {
		for _, c := range callers {
			err = errors.Join(err, c.conn.Close())
		}
	}()
	for _, p := range places {
		conn, err := net.DialTimeout("tcp", p.Address, patience)
		if err != nil {
			return nil, err
		}
		c := &caller{conn: conn, in: bufio.NewReader(conn), request: wire(p)}
		callers = append(callers, c)
		if err := c.call(warmup); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Address, err)
		}
		c.took = nil
	}
	for range sequence / slice {
		for _, c := range callers {
			if err := c.call(slice); err != nil {
				return nil, fmt.Errorf("%s: %w", c.conn.RemoteAddr(), err)
			}
		}
	}
	for _, c := range callers {
		slices.Sort(c.took)
		all = append(all, latencies{c.took[sequence/2], c.took[sequence*9/10], c.took[sequence*99/100]})
	}
	return all, nil
}

// call makes n requests.
func (c *caller) call(n int) error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for range n {
		began := time.Now()
		if _, err := c.conn.Write(c.request); err != nil {
			return err
		}
		if err := wellAnswered(c.in); err != nil {
			return err
		}
		c.took = append(c.took, time.Since(began))
	}
	return nil
}

// wire returns the request as it is sent to p.
func wire(p place) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /notes HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", p.Host, len(asked))
	if p.Token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", p.Token)
	}
	fmt.Fprintf(&b, "\r\n%s", asked)
	return b.Bytes()
}

// wellAnswered reads one answer, which has to be the application's.
func wellAnswered(in *bufio.Reader) error {
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK || string(b) != answered {
		return fmt.Errorf("answered %s: %.200q", r.Status, b)
	}
	return nil
}

// atOnce is how many connections wrk uses.
const atOnce = 16

// A load is how many requests a second were answered on many connections, and
// how long half of them took at most; zero where there is no wrk.
type load struct {
	rate float64
	half time.Duration
}

var (
	rateLine = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)$`)
	halfLine = regexp.MustCompile(`(?m)^\s+50%\s+([0-9.]+[mu]?s)$`)
)

// atOnceTo runs wrk against p.
func atOnceTo(ctx context.Context, dir string, p place, seconds int) (load, error) {
	script := filepath.Join(dir, "wrk.lua")
	var b strings.Builder
	fmt.Fprintf(&b, "wrk.method = 'POST'\nwrk.body = '%s'\nwrk.headers['Host'] = '%s'\nwrk.headers['Content-Type'] = 'application/json'\n", asked, p.Host)
	if p.Token != "" {
		fmt.Fprintf(&b, "wrk.headers['Authorization'] = 'Bearer %s'\n", p.Token)
	}
	if err := os.WriteFile(script, []byte(b.String()), 0o600); err != nil {
		return load{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+patience)
	defer cancel()
	said, err := exec.CommandContext(ctx, "wrk", "-t1", "--latency", "--timeout", "30s", "-c"+strconv.Itoa(atOnce), "-d"+strconv.Itoa(seconds)+"s",
		"-s", script, "http://"+p.Address+"/notes").CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, said)
	}
	return parseLoad(said)
}

// parseLoad reads what wrk says. One request that was not answered well is one
// too many.
func parseLoad(said []byte) (load, error) {
	perSecond, half := rateLine.FindSubmatch(said), halfLine.FindSubmatch(said)
	if perSecond == nil || half == nil || bytes.Contains(said, []byte("Non-2xx")) || bytes.Contains(said, []byte("Socket errors")) {
		return load{}, fmt.Errorf("wrk says\n%s", said)
	}
	var l load
	var errs [2]error
	l.rate, errs[0] = strconv.ParseFloat(string(perSecond[1]), 64)
	l.half, errs[1] = time.ParseDuration(string(half[1]))
	return l, errors.Join(errs[:]...)
}
