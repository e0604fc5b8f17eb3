package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// A role is what this program is when a bench has started it again: it serves
// until ctx is done, and calls ready when it answers.
type role func(ctx context.Context, args []string, ready func(place) error) error

var roles = map[string]role{
	"serve-app":  serveApp,
	"serve-edge": serveEdge,
}

// serve plays r until its stdin ends.
func serve(ctx context.Context, r role, args []string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what counts
		stop()
	}()
	return r(ctx, args, func(p place) error { return json.NewEncoder(os.Stdout).Encode(p) })
}

// readPlace reads what a role said when it was ready.
func readPlace(r io.Reader) (place, error) {
	var p place
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		return place{}, fmt.Errorf("it ended: %w", err)
	}
	return p, json.Unmarshal(line, &p)
}

// serveApp is the application where there is no nginx.
func serveApp(ctx context.Context, _ []string, ready func(place) error) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	at := ln.Addr().String()
	return serveHTTP(ctx, ln, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answered) //nolint:errcheck // the client would notice
	}, func() error { return ready(place{Address: at, Host: at}) })
}

// serveHTTP answers the connections of ln until ctx is done.
func serveHTTP(ctx context.Context, ln net.Listener, h http.HandlerFunc, ready func() error) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // it is over
	defer stop()
	if err := ready(); err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
