package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/audit/bundle"
	"github.com/isocore/isocore/audit/view"
	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/broker/exchange"
	"github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/prove/ports"
)

// A proof is what isocore prove is asked for.
type proof struct {
	*options
	lab      bool
	match    string
	out      string
	roots    string
	database string
}

func newProve(o *options) *cobra.Command {
	p := &proof{options: o}
	var list bool
	var verify, policy string
	c := &cobra.Command{
		Use: "prove", Short: "Attack the running deployment with every known leak, and say what held", Args: cobra.NoArgs,
		Long: "Attack the running deployment as a client would, between two tenants made for the run, with\nidentity providers of their own; they and their rows go with it. What is attacked are the brokers it has, and whatever else listens.\nExit code 1 on any finding, and on any probe that was blind, failed or was skipped.",
	}
	f := c.Flags()
	f.BoolVar(&list, "list", false, "list the probes, and attack nothing")
	f.BoolVar(&p.lab, "lab", false, "this is a laboratory: destructive probes too")
	f.StringVar(&p.match, "probe", "", "only the probes whose name contains this")
	f.StringVar(&p.out, "out", "", "also write the report into this file, signed with the key of the audit log")
	f.StringVar(&p.roots, "ca", "", "file with the certificates that the brokers' go back to; none: they listen without TLS")
	f.StringVar(&p.database, "database", "app", "the database, as the configuration names it")
	f.StringVar(&verify, "verify", "", "verify a signed report, offline, and attack nothing")
	f.StringVar(&policy, "policy", "", "file that says whose signature counts; the state directory's unless said")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		probes := chosen(everyProbe(), p.match)
		switch {
		case verify != "":
			return o.verifyReport(cmd.OutOrStdout(), verify, policy)
		case len(probes) == 0:
			return &misuse{hint(fmt.Errorf("no probe has %q in its name", p.match), "isocore prove --list")}
		case list:
			return o.listProbes(cmd, probes)
		}
		return p.run(cmd)
	}
	return c
}

// everyProbe returns the attacks on every broker there is, and on the ports of
// a deployment, which need no broker.
func everyProbe() []prove.Probe {
	return slices.Concat(postgres.Probes(), edge.Probes(), exchange.Probes(), portProbes(nil))
}

func chosen(probes []prove.Probe, match string) []prove.Probe {
	var some []prove.Probe
	for _, p := range probes {
		if strings.Contains(p.Name, match) {
			some = append(some, p)
		}
	}
	return some
}

func (o *options) listProbes(cmd *cobra.Command, probes []prove.Probe) error {
	listed := prove.List(probes)
	if o.json {
		return printJSON(cmd.OutOrStdout(), listed)
	}
	var rows [][]string
	for _, p := range listed {
		rows = append(rows, []string{p.Name, p.Class.String(), strings.Join(p.Refs, ", "), strings.Join(p.Rows, ", "), p.What})
	}
	return table(cmd.OutOrStdout(), "PROBE\tCLASS\tKNOWN FROM\tROWS\tWHAT", rows)
}

// run carries out the probes between two tenants of their own.
func (p *proof) run(cmd *cobra.Command) error {
	if p.out != "" {
		if err := p.free(p.out); err != nil {
			return err
		}
	}
	n, err := p.connect()
	if err != nil {
		return err
	}
	release, err := n.alone()
	if err != nil {
		return err
	}
	defer release()
	r, err := p.attack(cmd.Context(), n)
	if err != nil {
		return err
	}
	if p.out != "" {
		if err := n.sign(context.WithoutCancel(cmd.Context()), r, p.out); err != nil {
			return err
		}
		p.step("%s: signed; verify it with: isocore prove --verify %s", p.out, shellQuote(p.out))
	}
	if p.json {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.WriteText(cmd.OutOrStdout(), paint(os.Stdout))
	}
	if err == nil && !r.Passed() {
		return exit(exitFailed)
	}
	return err
}

// attack makes the tenants, runs the probes and ends the tenants, however the
// run ends. What an earlier run left behind is ended first.
func (p *proof) attack(ctx context.Context, n *client) (r *prove.Report, err error) {
	t, probes, gaps, err := p.target(ctx, n)
	if err != nil {
		return nil, err
	}
	g := &ground{client: n, database: p.database, at: t.Addr[postgres.Name]}
	if err := g.clear(ctx); err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
		defer cancel()
		err = errors.Join(err, g.clear(ctx))
	}()
	if t.A, err = g.tenant(ctx, "a"); err != nil {
		return nil, err
	}
	if t.B, err = g.tenant(ctx, "b"); err != nil {
		return nil, err
	}
	if t.Providers, err = g.provide(ctx, &t.A, &t.B); err != nil {
		return nil, err
	}
	update, finish := p.progress(fmt.Sprintf("%d probes", len(probes)), len(probes))
	report := prove.Run(ctx, t, probes, prove.Options{Lab: p.lab, Gaps: gaps, Progress: func(done, _ int, _ prove.Outcome) { update(done) }})
	finish()
	return &report, nil
}

// A suite are the attacks on one broker, and those that it does not try.
type suite struct {
	probes []prove.Probe
	gaps   []string
}

// target returns the deployment that n is of, without tenants, and what is to
// be tried on it: on the brokers it has.
func (p *proof) target(ctx context.Context, n *client) (*prove.Target, []prove.Probe, []string, error) {
	at, err := n.endpoints(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	posture, err := call[admin.Posture](ctx, n, http.MethodGet, "/v1/posture", nil)
	if err != nil {
		return nil, nil, nil, err
	}
	t := &prove.Target{Addr: map[string]string{}, Database: p.database, Grade: posture.Grade}
	at[exchange.Name] = at[publicDoor]
	suites := map[string]suite{
		postgres.Name: {postgres.Probes(), postgres.Gaps()}, edge.Name: {edge.Probes(), edge.Gaps()}, exchange.Name: {exchange.Probes(), exchange.Gaps()},
	}
	var probes []prove.Probe
	var gaps []string
	for _, r := range posture.Rows {
		if t.Addr[r.Broker] != "" || at[r.Broker] == "" {
			continue
		}
		t.Addr[r.Broker] = at[r.Broker]
		probes, gaps = append(probes, suites[r.Broker].probes...), append(gaps, suites[r.Broker].gaps...)
	}
	if err := p.trust(ctx, t); err != nil {
		return nil, nil, nil, err
	}
	routes, err := call[[]admin.Route](ctx, n, http.MethodGet, "/v1/routes", nil)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, r := range routes {
		t.Routes = append(t.Routes, prove.Route{Name: r.Name, Host: r.Host, Path: r.Path, Reach: r.Reach})
	}
	probes = chosen(append(probes, portProbes(&deployment{n.socket, at, routes})...), p.match)
	probes, left := prove.Fit(t, probes)
	if len(probes) == 0 {
		return nil, nil, nil, hint(fmt.Errorf("no probe with %q in its name is about what this deployment has", p.match), "isocore prove --list")
	}
	p.step("attacking %s, and whatever else listens", strings.Join(slices.Sorted(maps.Keys(t.Addr)), ", "))
	if p.match != "" {
		return t, probes, left, nil // who picks some knows that there are others
	}
	return t, probes, slices.Concat(left, gaps), nil
}

// trust says which certificates count, and which doors show none.
func (p *proof) trust(ctx context.Context, t *prove.Target) error {
	if p.roots == "" {
		return nil
	}
	b, err := os.ReadFile(p.roots)
	if err != nil {
		return err
	}
	t.Roots, t.Plain = x509.NewCertPool(), map[string]bool{}
	if !t.Roots.AppendCertsFromPEM(b) {
		return fmt.Errorf("%s: no certificate", p.roots)
	}
	for _, name := range []string{edge.Name, exchange.Name} {
		t.Plain[name] = t.Addr[name] != "" && !ports.Greets(ctx, t.Addr[name])
	}
	return nil
}

// sign has the node sign r, and writes that to path.
func (n *client) sign(ctx context.Context, r *prove.Report, path string) error {
	b, err := n.stream(ctx, http.MethodPost, "/v1/prove/reports", r)
	if err != nil {
		return err
	}
	defer b.Close() //nolint:errcheck // it was read
	_, err = save(path, b)
	return err
}

// A summary is what a signed report is read for.
type summary struct {
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	Grade    string    `json:"grade"`
	Passed   bool      `json:"passed"`
	Outcomes []struct {
		Probe  string `json:"probe"`
		Status string `json:"status"`
		Why    string `json:"why"`
	} `json:"outcomes"`
}

// verifyReport says what a signed report is worth: nothing, or what it says.
func (o *options) verifyReport(w io.Writer, path, policy string) error {
	if policy == "" {
		policy = filepath.Join(o.dir, "trust", "policy.txt")
	}
	text, err := os.ReadFile(policy)
	if err != nil {
		return hint(err, "--policy FILE says whose signature counts")
	}
	p, err := bundle.ParsePolicy(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", policy, err)
	}
	signed, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	report, err := admin.OpenReport(signed, p)
	if err != nil {
		return fmt.Errorf("%s does not verify: %w", path, err)
	}
	var s summary
	if err := json.Unmarshal(report, &s); err != nil {
		return fmt.Errorf("%s is signed, and no report: %w", path, err)
	}
	if o.json {
		_, err = io.Copy(w, bytes.NewReader(report))
	} else {
		err = s.print(w)
	}
	if err == nil && !s.Passed {
		return exit(exitFailed)
	}
	return err
}

func (s *summary) print(w io.Writer) error {
	held := 0
	for _, o := range s.Outcomes {
		if o.Status == "held" {
			held++
			continue
		}
		fmt.Fprintf(w, "%s  %s: %s\n", o.Status, view.Printable(o.Probe), view.Printable(o.Why))
	}
	_, err := fmt.Fprintf(w, "verified: %d probes, %d held; grade: %s; %s to %s\n", len(s.Outcomes), held, view.Printable(s.Grade),
		s.Started.UTC().Format(time.RFC3339), s.Ended.UTC().Format(time.RFC3339))
	return err
}

// paint returns how a status is shown in colour on a terminal, or nil.
func paint(f *os.File) func(prove.Status, string) string {
	if !isTerminal(f) {
		return nil
	}
	return func(s prove.Status, text string) string {
		colour := "33"
		switch s {
		case prove.Held:
			colour = "32"
		case prove.Found:
			colour = "31"
		case prove.Failed, prove.Blind, prove.Skipped:
		}
		return "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
}
