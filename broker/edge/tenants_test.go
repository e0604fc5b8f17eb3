package edge

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/tenant"
)

// TestOwnNamesOnly: another tenant's host or path is answered as what is
// nowhere, byte for byte, and is recorded with whoever asked.
func TestOwnNamesOnly(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	for host, targets := range map[string][]string{
		"app.test":        {"/read", "/", "/beta", "/t/beta"},
		"alpha.app.test":  {"/read"},
		"ALPHA.app.test":  {"/read"},
		"alpha.home.test": {"/read"},
		"path.test":       {"/t/alpha", "/t/alpha/", "/t/alpha/x", "/t/%61lpha/x"},
		"path.test:8080":  {"/t/alpha"},
	} {
		for _, target := range targets {
			if resp, body := w.ask(t, "GET", host, target); resp.StatusCode != 200 || !strings.Contains(body, f.A.String()) {
				t.Errorf("%s%s: %s %s", host, target, resp.Status, body)
			}
		}
	}
	before := f.App.requests.Load()
	var first string
	asked := 0
	for host, targets := range map[string][]string{
		"nowhere.test":       {"/"}, // the control: there is nothing
		"app.test.evil.test": {"/"},
		"test":               {"/"},
		"127.0.0.1":          {"/"},
		"beta.app.test":      {"/read", "/"},
		"gamma.app.test":     {"/read"},
		"a.alpha.app.test":   {"/read"},
		"beta.north.test":    {"/read"},
		"alpha.north.test":   {"/read"},
		"beta.home.test":     {"/read"},
		"home.alpha.test":    {"/read"},
		"path.test":          {"/", "/t", "/t/", "/t/beta", "/t/beta/x", "/t/ALPHA", "/t/alphabet", "/t/alph", "/x/alpha", "/t/%62eta", "/t/%7Btenant%7D"},
	} {
		for _, target := range targets {
			asked++
			resp, body := w.ask(t, "GET", host, target)
			resp.Header.Del("X-Request-Id")
			resp.Header.Del("Date")
			all := fmt.Sprint(resp.StatusCode, resp.Header, body)
			if first == "" {
				first = all
			}
			if resp.StatusCode != http.StatusNotFound || all != first {
				t.Errorf("%s%s: %s, not %s", host, target, all, first)
			}
		}
	}
	if n := f.App.requests.Load() - before; n != 0 {
		t.Errorf("%d of them reach the application", n)
	}
	refused := 0
	for _, r := range f.Records(t, f.A) {
		if r.Kind == audit.Decision && r.Reason == "NotFound" {
			refused++
		}
	}
	if refused != asked {
		t.Errorf("%d of %d are recorded", refused, asked)
	}
	if rs := f.Records(t, f.B); len(rs) != 0 {
		t.Errorf("%d records with whom was named", len(rs))
	}
}

// TestUnnamed: a tenant whose name is not known has no host or path of its own.
func TestUnnamed(t *testing.T) {
	f := newFixture(t)
	c := tenant.New()
	w := f.dial(t, f.Token(c))
	for host, want := range map[string]int{"app.test": 200, "alpha.app.test": 404, "beta.app.test": 404} {
		if resp, _ := w.ask(t, "GET", host, "/read"); resp.StatusCode != want {
			t.Errorf("%s: %s", host, resp.Status)
		}
	}
	if got := f.App.last(t).Header.Get("Baggage"); got != "tenant.id="+c.String() {
		t.Errorf("baggage %q", got)
	}
}

// TestTwoTenants: on connections of their own, and on one that both use in
// turn, everyone gets the answer to their own request.
func TestTwoTenants(t *testing.T) {
	f := newFixture(t)
	tokens := map[tenant.ID]*wire{f.A: f.dial(t, f.Token(f.A)), f.B: f.dial(t, f.Token(f.B))}
	var all sync.WaitGroup
	check := func(w *wire, id tenant.ID, nonce string) {
		resp, body, err := w.try("GET", "app.test", "/read?nonce="+nonce)
		if want := "tenant " + id.String() + " nonce " + nonce; err != nil || body != want {
			t.Errorf("%v %q, want %q, %v", resp, body, want, err)
		}
	}
	for i := range 6 {
		id := []tenant.ID{f.A, f.B}[i%2]
		w := f.dial(t, tokens[id].token)
		all.Go(func() {
			for n := range 100 {
				check(w, id, fmt.Sprintf("%d-%d", i, n))
			}
		})
	}
	shared := f.dial(t, tokens[f.A].token)
	all.Go(func() {
		for n := range 100 {
			id := []tenant.ID{f.A, f.B}[n%2]
			shared.token = tokens[id].token
			check(shared, id, fmt.Sprintf("shared-%d", n))
		}
	})
	// Pipelined, in one group.
	mixed := f.dial(t, tokens[f.A].token)
	var group strings.Builder
	for n := range 40 {
		mixed.token = tokens[[]tenant.ID{f.A, f.B}[n%2]].token
		fmt.Fprintf(&group, "%s\r\n", mixed.head("GET", "app.test", fmt.Sprintf("/read?nonce=%d", n)))
	}
	all.Go(func() {
		if _, err := io.WriteString(mixed, group.String()); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() {
		for n := range 40 {
			id := []tenant.ID{f.A, f.B}[n%2]
			_, body, err := mixed.answer("GET")
			if want := fmt.Sprintf("tenant %s nonce %d", id, n); err != nil || body != want {
				t.Errorf("%q, want %q, %v", body, want, err)
			}
		}
	})
	all.Wait()
	for _, id := range []tenant.ID{f.A, f.B} {
		begun := 0
		for _, r := range f.Records(t, id) {
			if r.Class == audit.ClassSessionBegun {
				begun++
			}
		}
		if begun != 1 {
			t.Errorf("one token entered %d times", begun)
		}
	}
}

// TestReuse: one Txn-Token for some seconds, where a route says so, and never
// for another route or session.
func TestReuse(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	token := func(w *wire, host string) (token, txn, id string) {
		w.ask(t, "GET", host, "/read")
		h := f.App.last(t).Header
		p, err := payload(h)
		if err != nil {
			t.Fatal(err)
		}
		return h.Get("Txn-Token"), p.Txn, h.Get("X-Request-Id")
	}
	one, txn1, id1 := token(w, "again.test")
	two, txn2, id2 := token(w, "again.test")
	if one != two || txn1 != txn2 || txn1 != id1 || id1 == id2 {
		t.Errorf("txn %s and %s, requests %s and %s", txn1, txn2, id1, id2)
	}
	other, _, _ := token(w, "app.test")
	same, _, _ := token(w, "app.test")
	another, _, _ := token(f.dial(t, f.Token(f.A)), "again.test")
	if other == one || same == other || another == one {
		t.Error("a Txn-Token is used again elsewhere")
	}
	for _, r := range f.Records(t, f.A) {
		if r.Kind == audit.Decision && strings.Contains(fmt.Sprint(r.Resources), "request:"+id2) && !strings.Contains(fmt.Sprint(r.Resources), "txn:"+txn1) {
			t.Errorf("%q does not name the txn %s", r.Resources, txn1)
		}
	}
}

// TestNarrow: a Txn-Token passes on what both the token and the route reach.
func TestNarrow(t *testing.T) {
	f := newFixture(t)
	for target, want := range map[string]string{"/read": "pg:read pg:write", "/reader": "pg:read"} {
		f.dial(t, f.Token(f.A)).ask(t, "GET", "app.test", target)
		if p, err := payload(f.App.last(t).Header); err != nil || p.Scope != want {
			t.Errorf("%s: %q, %v", target, p.Scope, err)
		}
	}
	before := f.App.requests.Load()
	for _, reach := range [][]string{{"http", "pg:write"}, {"pg:read"}, {"other"}} {
		if resp, body := f.dial(t, f.Token(f.A, reach...)).ask(t, "GET", "app.test", "/reader"); resp.StatusCode != 403 {
			t.Errorf("%v: %s %s", reach, resp.Status, body)
		}
	}
	if f.App.requests.Load() != before {
		t.Error("a request that reaches nothing reaches the application")
	}
}
