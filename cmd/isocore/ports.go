package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/prove/ports"
)

// publicDoor is what a node calls the door of who asks whether it lives.
const publicDoor = "public"

// A deployment is what listens for clients, and for nobody else.
type deployment struct {
	socket string            // the operator's
	doors  map[string]string // where clients are answered, by name
	routes []admin.Route
}

// portProbes returns the attacks on whatever a deployment listens on. They
// need no tenants and cover no broker's row. Without a deployment they are for
// the list alone.
func portProbes(d *deployment) []prove.Probe {
	at := func(name, what, row string, refs []string, run func(context.Context) (*prove.Finding, error), control func(context.Context) error) prove.Probe {
		return prove.Probe{
			Name: "ports: " + name, What: what, Rows: []string{"ports/" + row}, Refs: refs, Class: prove.Passive,
			Control: func(ctx context.Context, _ *prove.Target) error { return control(ctx) },
			Attack:  func(ctx context.Context, _ *prove.Target) (*prove.Finding, error) { return run(ctx) },
		}
	}
	refs := []string{"museum 28", "holes 46", "holes 47"}
	return []prove.Probe{
		at("every port is a door", "Find every TCP port that a process of the deployment listens on: each is one of the doors'.", "tcp", refs, d.strays, d.found),
		at("nobody is told anything", "Say at every port what strangers say, over HTTP, as clients of stores do, and in no language: nothing but public documents comes back.", "tcp", refs, d.open, d.heard),
		at("datagrams", "Find every UDP port that a process of the deployment takes datagrams on: there is none.", "udp", refs, d.datagrams, d.found),
		at("unix sockets", "Find every unix socket that a process of the deployment listens on: no other account can open it.", "unix", refs, d.sockets, d.found),
		at("applications behind the edge", "Ask the applications of the routes that are on this machine, past the edge, without a Txn-Token: none tells anything.", "upstream", []string{"holes 47"}, d.upstreams, d.heard),
	}
}

// listeners returns what the node, and what it has started, listens on.
func (d *deployment) listeners() ([]ports.Listener, error) {
	pid, err := peerOf(d.socket)
	if err != nil {
		return nil, prove.Skip("which process the node is cannot be seen from here: %v", err)
	}
	all, err := ports.Of(pid)
	if err != nil {
		return nil, prove.Skip("what process %d listens on cannot be seen from here: %v", pid, err)
	}
	return all, nil
}

// found is the control of what is looked for: the doors are found.
func (d *deployment) found(context.Context) error {
	all, err := d.listeners()
	if err != nil {
		return err
	}
	for name, addr := range d.doors {
		if name != "admin" && !slices.ContainsFunc(all, func(l ports.Listener) bool { return l.Address == addr }) {
			return fmt.Errorf("the door %s at %s is not among what is found: %v", name, addr, all)
		}
	}
	return nil
}

// heard is the control of what is asked: every door answers something.
func (d *deployment) heard(ctx context.Context) error {
	for name, addr := range d.tcp() {
		answers, err := ports.Knock(ctx, addr)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(answers, func(a ports.Answer) bool { return a.Said != "" }) {
			return fmt.Errorf("the door %s at %s answers nothing at all", name, addr)
		}
	}
	return nil
}

// tcp returns the doors over TCP.
func (d *deployment) tcp() map[string]string {
	doors := map[string]string{}
	for name, addr := range d.doors {
		if _, err := netip.ParseAddrPort(addr); err == nil {
			doors[name] = addr
		}
	}
	return doors
}

func portFinding(row, got, want, evidence string) *prove.Finding {
	return &prove.Finding{Row: "ports/" + row, Got: got, Want: want, Evidence: evidence}
}

// strays returns a finding for a port that is no door's.
func (d *deployment) strays(context.Context) (*prove.Finding, error) {
	all, err := d.listeners()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Network != "tcp" || slices.Contains(addresses(d.doors), l.Address) {
			continue
		}
		return portFinding("tcp", "a port that is no door's", "doors alone", l.String()), nil
	}
	return nil, nil
}

func addresses(doors map[string]string) []string {
	var all []string
	for _, addr := range doors {
		all = append(all, addr)
	}
	return all
}

// open returns a finding for a port at which a stranger is told something.
// Ports that cannot be seen from here are the first probe's to complain of: the
// doors are asked all the same.
func (d *deployment) open(ctx context.Context) (*prove.Finding, error) {
	addrs := addresses(d.tcp())
	if all, err := d.listeners(); err == nil {
		for _, l := range all {
			if l.Network == "tcp" {
				addrs = append(addrs, l.Address)
			}
		}
	}
	slices.Sort(addrs)
	for _, addr := range slices.Compact(addrs) {
		answers, err := ports.Knock(ctx, addr)
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			if a.Opens() && !(addr == d.doors[publicDoor] && isPublic(a)) {
				return portFinding("tcp", "an answer at "+addr+" to "+a.Knock, "a refusal, or one of the public documents", a.Said), nil
			}
		}
	}
	return nil, nil
}

// isPublic reports whether an answer is one of the documents that anybody may
// read, at the door they are read at.
func isPublic(a ports.Answer) bool {
	for _, path := range admin.PublicPaths {
		if a.Knock == "GET "+path || a.Knock == "GET "+path+" behind TLS" {
			return true
		}
	}
	return false
}

func (d *deployment) datagrams(context.Context) (*prove.Finding, error) {
	all, err := d.listeners()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Network == "udp" {
			return portFinding("udp", "a port for datagrams", "none", l.String()), nil
		}
	}
	return nil, nil
}

func (d *deployment) sockets(context.Context) (*prove.Finding, error) {
	all, err := d.listeners()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Network != "unix" {
			continue
		}
		if err := ports.Guarded(l.Address); err != nil {
			return portFinding("unix", "a socket that others can open", "a mode of 0600, or a folder of 0700", l.String()+": "+err.Error()), nil
		}
	}
	return nil, nil
}

// upstreams asks the applications that are on this machine. One that is not
// running tells nobody anything.
func (d *deployment) upstreams(ctx context.Context) (*prove.Finding, error) {
	asked := map[string]bool{}
	for _, r := range d.routes {
		addr := loopback(r.Upstream)
		if addr == "" || asked[addr] {
			continue
		}
		asked[addr] = true
		answers, err := ports.Knock(ctx, addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			if a.Opens() {
				return portFinding("upstream", "an answer of the application "+r.Name+" to "+a.Knock, "a refusal of whoever has no Txn-Token", a.Said), nil
			}
		}
	}
	return nil, nil
}

// loopback returns the address of an application that is on this machine, "" of
// any other.
func loopback(upstream string) string {
	u, err := url.Parse(upstream)
	if err != nil {
		return ""
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	a, err := netip.ParseAddr(host)
	if err == nil && a.IsLoopback() || strings.EqualFold(host, "localhost") {
		return net.JoinHostPort(host, port)
	}
	return ""
}
