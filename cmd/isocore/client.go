package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/local"
)

// A client speaks to the node over its admin socket.
type client struct {
	http   *http.Client
	socket string
}

// connect finds the node: by the configuration, or by the state directory.
func (o *options) connect() (*client, error) {
	socket, err := o.socket()
	if err != nil {
		return nil, err
	}
	return newClient(socket), nil
}

func newClient(socket string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &client{&http.Client{Transport: &http.Transport{DialContext: dial}}, socket}
}

func (o *options) socket() (string, error) {
	if o.config != "" {
		return config.Socket(o.config)
	}
	e, err := local.ReadEndpoints(o.dir)
	if errors.Is(err, local.ErrNotRunning) {
		return "", o.notRunning()
	}
	return e.Addresses["admin"], err
}

func (o *options) notRunning() error {
	return hint(fmt.Errorf("no IsoCore runs in %s", o.dir), "start one with: isocore up"+o.in())
}

// in returns the flag that leads other commands to the same state directory.
func (o *options) in() string {
	if o.dir == ".isocore" {
		return ""
	}
	return " --dir " + shellQuote(o.dir)
}

// shellQuote returns s as a shell takes it for one word.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// stream makes a call and returns its body.
func (c *client) stream(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://isocore"+path, in)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if cause, ok := errors.AsType[*url.Error](err); ok {
		return nil, fmt.Errorf("the node does not answer: %w", cause.Err)
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	p := new(admin.Problem)
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(p); err != nil {
		return nil, fmt.Errorf("the node answers %s", res.Status)
	}
	return nil, p
}

// call makes a call and decodes its answer.
func call[T any](ctx context.Context, c *client, method, path string, body any) (T, error) {
	var answer T
	b, err := c.stream(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer b.Close() //nolint:errcheck // it was read
	return answer, json.NewDecoder(b).Decode(&answer)
}

// endpoints returns where the node answers, by door.
func (c *client) endpoints(ctx context.Context) (map[string]string, error) {
	return call[map[string]string](ctx, c, http.MethodGet, "/v1/endpoints", nil)
}

// postgres returns where the node answers PostgreSQL clients.
func (c *client) postgres(ctx context.Context) (string, error) {
	at, err := c.endpoints(ctx)
	if err == nil && at["postgres"] == "" {
		err = errors.New("the node has no PostgreSQL broker")
	}
	return at["postgres"], err
}

// beside returns the path of a file that belongs to the node's operator.
func (c *client) beside(name string) string { return filepath.Join(filepath.Dir(c.socket), name) }

// completionTime is how long a shell may wait for names.
const completionTime = 2 * time.Second

// completeTenants has the shell complete the names of tenants, as arguments
// and in --tenant.
func (o *options) completeTenants(c *cobra.Command) {
	names := func(c *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return o.tenantNames(c.Context(), start), cobra.ShellCompDirectiveNoFileComp
	}
	if c.Flags().Lookup("tenant") != nil {
		c.RegisterFlagCompletionFunc("tenant", names) //nolint:errcheck // the flag is there
		return
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(c, args, start)
	}
}

// tenantNames returns the names that begin with start; none if the node does
// not say.
func (o *options) tenantNames(ctx context.Context, start string) []cobra.Completion {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	n, err := o.connect()
	if err != nil {
		return nil
	}
	all, err := call[[]admin.Tenant](ctx, n, http.MethodGet, "/v1/tenants", nil)
	if err != nil {
		return nil
	}
	var names []cobra.Completion
	for _, t := range all {
		if short, home := strings.CutPrefix(t.Path, string(admin.Home)+"/"); home && strings.HasPrefix(short, start) {
			names = append(names, short)
			continue
		}
		if strings.HasPrefix(t.Path, start) {
			names = append(names, t.Path)
		}
	}
	return names
}
