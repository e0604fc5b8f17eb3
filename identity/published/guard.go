package published

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Limits of reaching a host.
const (
	maxTries = 3 // addresses of it that are dialed
	tryTime  = 1500 * time.Millisecond
)

// Where addresses lead, by the special-purpose registries of IANA.
var (
	// nowhere is where no publisher is: this host, link-local (cloud metadata is
	// there), documentation, benchmarks, multicast, reserved, and what wraps an
	// address in another (6to4, Teredo).
	nowhere = prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	)
	// inside is where only a Private source may be.
	inside = prefixes(
		"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
		"::1/128", "fc00::/7",
	)
	global6 = netip.MustParsePrefix("2000::/3")     // all of IPv6 that is routed
	nat64   = netip.MustParsePrefix("64:ff9b::/96") // IPv4 as a translator reaches it (RFC 6052)
)

func prefixes(all ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(all))
	for i, p := range all {
		list[i] = netip.MustParsePrefix(p)
	}
	return list
}

// admits returns nil if s may be at a. An address within another is judged by
// the inner one; one with a zone is in no prefix, and so nowhere.
func (s Source) admits(a netip.Addr) error {
	to := a.Unmap()
	if nat64.Contains(to) {
		b := to.As16()
		to = netip.AddrFrom4([4]byte(b[12:]))
	}
	in := func(p netip.Prefix) bool { return p.Contains(to) }
	switch {
	case !to.IsValid(), slices.ContainsFunc(nowhere, in):
		return fmt.Errorf("published: no issuer publishes at %s", a)
	case slices.ContainsFunc(inside, in):
		if !s.Private {
			return fmt.Errorf("published: %s is a private address, and the source is not", a)
		}
		return nil
	case !to.Is4() && !global6.Contains(to):
		return fmt.Errorf("published: no issuer publishes at %s", a)
	default:
		return nil
	}
}

// A network reaches hosts.
type network struct {
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// reach connects to a host of s. It dials the very addresses that it judged: a
// name that is looked up twice may have another answer the second time. One
// bad address among the answers refuses them all.
func (n network) reach(ctx context.Context, s Source, host string, port uint16) (net.Conn, error) {
	addrs, err := n.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if err := s.admits(a); err != nil {
			return nil, err
		}
	}
	var errs []error
	for _, a := range addrs[:min(len(addrs), maxTries)] {
		conn, err := n.try(ctx, netip.AddrPortFrom(a.Unmap(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (n network) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := n.lookup(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		return nil, fmt.Errorf("published: %q has no address", host)
	}
	return addrs, err
}

func (n network) try(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	return n.dial(ctx, "tcp", to.String())
}
