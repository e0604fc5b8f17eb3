package published

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAdmits(t *testing.T) {
	for _, c := range []struct {
		addrs           string
		public, private bool // who may be there
	}{
		{"8.8.8.8 1.1.1.1 11.0.0.0 9.255.255.255 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 223.255.255.255", true, true},
		{"2606:4700::1111 2a00:1450:4001:80b::2004 2001:200::1 2001:4860:4860::8888 3ffe:ffff::1", true, true},
		{"::ffff:8.8.8.8 64:ff9b::8.8.8.8", true, true},

		{"127.0.0.1 127.255.255.255 10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 100.64.0.0 100.127.255.255", false, true},
		{"::1 fc00:: fdff:ffff::1 fd00:ec2::254", false, true},
		{"::ffff:127.0.0.1 ::ffff:10.1.2.3 ::ffff:192.168.1.1 64:ff9b::127.0.0.1 64:ff9b::10.1.2.3", false, true},

		{"0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.0 192.0.0.8 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1", false, false},
		{"224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255", false, false},
		{":: ::2 ::127.0.0.1 ::8.8.8.8 fe80::1 fe80::1%lo febf::1 fec0::1 ff02::1 ff0e::1 100::1 2001:db8::1 3fff::1 5f00::1", false, false},
		{"2001::1 2001:2::1 2001:10::1 2002:7f00:1::1 2002:808:808::1 64:ff9b:1::808:808 4000::1 ::ffff:0:7f00:1 2606:4700::1111%eth0", false, false},
		{"::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:224.0.0.1 ::ffff:198.18.0.1 64:ff9b::169.254.169.254 64:ff9b::0.0.0.0", false, false},
	} {
		for a := range strings.FieldsSeq(c.addrs) {
			addr := netip.MustParseAddr(a)
			if err := (Source{}).admits(addr); (err == nil) != c.public {
				t.Errorf("%s as public: %v", a, err)
			}
			if err := (Source{Private: true}).admits(addr); (err == nil) != c.private {
				t.Errorf("%s as private: %v", a, err)
			}
		}
	}
	if (Source{Private: true}).admits(netip.Addr{}) == nil {
		t.Error("no address is admitted")
	}
}

// A guarded network answers look-ups from a list and dials nobody.
type guarded struct {
	answers [][]string
	dialed  []string
}

func (g *guarded) network() network {
	return network{
		lookup: func(context.Context, string, string) (addrs []netip.Addr, err error) {
			for _, a := range g.answers[0] {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			g.answers = g.answers[1:]
			return addrs, nil
		},
		dial: func(_ context.Context, _, address string) (net.Conn, error) {
			g.dialed = append(g.dialed, address)
			return nil, errors.New("nobody there")
		},
	}
}

func TestOnlyJudgedAddressesAreDialed(t *testing.T) {
	for name, c := range map[string]struct {
		answers [][]string
		private bool
		dialed  []string
	}{
		"a public one":            {[][]string{{"8.8.8.8"}}, false, []string{"8.8.8.8:443"}},
		"mapped":                  {[][]string{{"::ffff:8.8.8.8"}}, false, []string{"8.8.8.8:443"}},
		"IPv6":                    {[][]string{{"2606:4700::1111"}}, false, []string{"[2606:4700::1111]:443"}},
		"rebound":                 {[][]string{{"8.8.8.8"}, {"127.0.0.1"}}, false, []string{"8.8.8.8:443"}},
		"rebound and back":        {[][]string{{"127.0.0.1"}, {"8.8.8.8"}}, false, []string{"8.8.8.8:443"}},
		"one good, one bad":       {[][]string{{"8.8.8.8", "169.254.169.254"}}, false, nil},
		"a bad one past the last": {[][]string{{"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "127.0.0.1"}}, false, nil},
		"many":                    {[][]string{{"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1"}}, false, []string{"8.8.8.8:443", "8.8.4.4:443", "1.1.1.1:443"}},
		"none":                    {[][]string{{}}, false, nil},
		"loopback":                {[][]string{{"127.0.0.1"}}, false, nil},
		"loopback, private":       {[][]string{{"127.0.0.1", "::1"}}, true, []string{"127.0.0.1:443", "[::1]:443"}},
		"metadata, private":       {[][]string{{"169.254.169.254"}}, true, nil},
	} {
		g := &guarded{answers: c.answers}
		n := g.network()
		for range len(c.answers) {
			if _, err := n.get(t.Context(), Source{Issuer: issuer, URI: "https://idp.test/jwks", Private: c.private}); err == nil {
				t.Errorf("%s: nobody answered, and there is a document", name)
			}
		}
		if !slices.Equal(g.dialed, c.dialed) {
			t.Errorf("%s: dialed %q, want %q", name, g.dialed, c.dialed)
		}
	}
}

func TestAnAddressThatDoesNotAnswerLeavesTimeForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{answers: [][]string{{"2606:4700::1111", "8.8.8.8"}}}
		n := g.network()
		n.dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			client, _ := net.Pipe()
			return client, nil
		}
		begun := time.Now()
		conn, err := n.reach(t.Context(), Source{}, "idp.test", 443)
		if err != nil || time.Since(begun) != tryTime {
			t.Fatalf("%v after %v", err, time.Since(begun))
		}
		conn.Close()
	})
}

func TestCheck(t *testing.T) {
	good := "https://idp.test/jwks"
	for _, c := range []struct {
		s    Source
		want string // in the error; "" is none
	}{
		{Source{Issuer: "i", URI: good}, ""},
		{Source{Issuer: "i", URI: "https://idp.test:8443/keys?p=policy"}, ""},
		{Source{Issuer: "i", URI: "https://8.8.8.8/"}, ""},
		{Source{Issuer: "i", URI: "https://127.0.0.1:1/", Private: true}, ""},
		{Source{Issuer: "i", URI: "https://[::1]/", Private: true}, ""},
		{Source{URI: good}, "without an issuer"},
		{Source{Issuer: "i"}, "not https"},
		{Source{Issuer: "i", URI: "http://idp.test/jwks"}, "not https"},
		{Source{Issuer: "i", URI: "file:///etc/passwd"}, "not https"},
		{Source{Issuer: "i", URI: "https:idp.test"}, "not https"},
		{Source{Issuer: "i", URI: "https:///jwks"}, "not https"},
		{Source{Issuer: "i", URI: "https://user:pass@idp.test/"}, "without a user"},
		{Source{Issuer: "i", URI: "https://idp.test/#"}, "fragment"},
		{Source{Issuer: "i", URI: "https://idp.test/\n"}, "not one"},
		{Source{Issuer: "i", URI: "https://idp.test:0/"}, "port"},
		{Source{Issuer: "i", URI: "https://idp.test:65536/"}, "port"},
		{Source{Issuer: "i", URI: "https://\u0456dp.test/"}, "ASCII"},
		{Source{Issuer: "i", URI: good + strings.Repeat("a", maxURI)}, "too long"},
		{Source{Issuer: "i", URI: "https://127.0.0.1/"}, "private address"},
		{Source{Issuer: "i", URI: "https://[::ffff:10.0.0.1]/"}, "private address"},
		{Source{Issuer: "i", URI: "https://169.254.169.254/", Private: true}, "no issuer publishes at"},
		{Source{Issuer: "i", URI: "https://[fe80::1%25lo]/", Private: true}, "no issuer publishes at"},
		{Source{Issuer: "i", URI: good, CA: "x"}, "PEM"},
		{Source{Issuer: "i", URI: good, CA: "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"}, "PEM"},
		{Source{Issuer: "i", URI: good, CA: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}, "the CA"},
		{Source{Issuer: "i", URI: good, CA: strings.Repeat(" ", maxCA+1)}, "a CA of over"},
		{Source{Issuer: "i", URI: good, CA: "\n"}, "PEM"},
	} {
		err := c.s.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.200q: %v, want %q", fmt.Sprint(c.s), err, c.want)
		}
	}
}
