// Command notes is an ordinary application behind the edge: it searches and
// adds documents in a PostgreSQL that many tenants share.
//
// It has no credential. Each request comes with a Txn-Token from the edge, and
// what the application may do is what that token may. What isolation costs it
// are the three lines that say workload: the middleware, and the pool's
// configuration. Its queries are as anybody would write them, and with --buggy
// they are worse.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/isocore/isocore/workload"
	"github.com/isocore/isocore/workload/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := parse(os.Args[1:])
	if err == nil {
		err = s.run(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "notes:", err)
		os.Exit(1)
	}
}

// settings are what the command line says.
type settings struct {
	listen   string
	issuer   string
	jwks     string
	endpoint string
	postgres string
	database string
	buggy    bool
}

func parse(args []string) (settings, error) {
	var s settings
	f := flag.NewFlagSet("notes", flag.ContinueOnError)
	f.StringVar(&s.listen, "listen", "127.0.0.1:7081", "where the edge finds this application")
	f.StringVar(&s.issuer, "issuer", "https://isocore.local", "who signs the Txn-Tokens")
	f.StringVar(&s.jwks, "jwks", "http://127.0.0.1:7900/.well-known/jwks.json", "where the issuer's public keys are")
	f.StringVar(&s.endpoint, "token-endpoint", "http://127.0.0.1:7900/v1/token", "where a Txn-Token is exchanged for a store's")
	f.StringVar(&s.postgres, "postgres", "127.0.0.1:7432", "the PostgreSQL broker")
	f.StringVar(&s.database, "database", "app", "the database")
	f.BoolVar(&s.buggy, "buggy", false, "forget the WHERE of the search")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("%q is no flag, and there are flags only", f.Arg(0))
	}
	return s, nil
}

// run answers requests until ctx is done.
func (s settings) run(ctx context.Context, log *slog.Logger) error {
	handler, done, err := s.open(ctx, log)
	if err != nil {
		return err
	}
	defer done()
	var listen net.ListenConfig
	ln, err := listen.Listen(ctx, "tcp", s.listen)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "notes", "listen", ln.Addr(), "buggy", s.buggy)
	return serve(ctx, ln, handler)
}

// open returns the application, and what closes its pool.
func (s settings) open(ctx context.Context, log *slog.Logger) (http.Handler, func(), error) {
	w, err := workload.New(workload.Config{Issuer: s.issuer, JWKS: s.jwks, TokenURL: s.endpoint, Log: log})
	if err != nil {
		return nil, nil, err
	}
	c, err := pgxpool.ParseConfig("postgres://notes@" + s.postgres + "/" + s.database)
	if err != nil {
		return nil, nil, err
	}
	postgres.Configure(c, w, "pg:read", "pg:write")
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	return w.Middleware(routes(pool, log, s.buggy)), pool.Close, nil
}

// grace is what requests in progress get when the program ends. Event streams,
// which have no end of their own, are cut then.
const grace = 2 * time.Second

func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	server, done := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}, make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if server.Shutdown(late) != nil {
		return server.Close()
	}
	return nil
}
