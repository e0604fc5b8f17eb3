package identity_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

const txnHeader = `{"alg":"EdDSA","kid":"k","typ":"txntoken+jwt"}`

// txnClaims are good claims of a Txn-Token of ours, changed as those of
// [claims].
func txnClaims(changes ...member) string {
	return object([]member{
		{"iss", `"` + issuer + `"`},
		{"aud", `"issuer.test"`},
		{"iat", `1800000000`},
		{"exp", `1800000120`},
		{"txn", `"x1"`},
		{"sub", `"` + idU + `"`},
		{"sub_id", `{"format":"iss_sub","iss":"` + issuer + `","sub":"alice"}`},
		{"scope", `"http pg:read"`},
		{"req_wl", `"notes"`},
		{"tctx", `{"tenant":"` + idT + `","partner":"` + idP + `","principal":"` + idU + `"}`},
		{"rctx", `{"req_ip":"192.0.2.7","iss":"` + issuer + `","token":"` + idOther + `"}`},
	}, changes)
}

// payload decodes what a token says.
func payload(t *testing.T, token secret.Text) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Reveal(), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// A Txn-Token says what the draft wants, under its names.
func TestTxnToken(t *testing.T) {
	e := newEdgeOf(t)
	presented := e.issue(member{"act", `{"sub":"bob"}`})
	in := e.must(t, identity.Edge, presented)
	e.now = e.now.Add(10 * time.Second)
	token, err := e.m.Txn(in, identity.TxnGrant{Txn: "x1", Workload: "notes", Reach: []string{identity.PGRead}, Peer: "2001:db8::1", TTL: 15 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	hash := in.Token()
	id := in.ID()
	want := map[string]any{
		"iss": issuer, "aud": "issuer.test", "iat": 1_800_000_010.0, "exp": 1_800_000_300.0, "txn": "x1", "sub": hex.EncodeToString(id[:]),
		"sub_id": map[string]any{"format": "iss_sub", "iss": idp, "sub": "alice"}, "scope": "pg:read", "req_wl": "notes",
		"act":  map[string]any{"iss": idp, "sub": "bob"},
		"tctx": map[string]any{"tenant": idA, "partner": idP, "principal": hex.EncodeToString(id[:])},
		"rctx": map[string]any{"req_ip": "2001:db8::1", "iss": idp, "token": hex.EncodeToString(hash[:16])},
	}
	got, errG := json.Marshal(payload(t, token))
	exp, errE := json.Marshal(want)
	if errG != nil || errE != nil || string(got) != string(exp) {
		t.Errorf("%s\n%s", got, exp)
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Reveal(), ".")[0])
	if err != nil || !strings.Contains(string(header), `"typ":"txntoken+jwt"`) {
		t.Errorf("header %s, %v", header, err)
	}
	if strings.Contains(token.Reveal(), presented.Reveal()) {
		t.Error("the presented token is in it")
	}
	p := e.must(t, identity.Exchange, token)
	if !slices.Equal(p.Actors(), []string{"bob"}) || !slices.Equal(p.Reach(), []string{"pg:read"}) {
		t.Errorf("%+v", p)
	}
	read, err := identity.ReadTxn(e.m.Keys(), issuer, "issuer.test", token, e.now)
	if err != nil || read.Tenant != in.Tenant() || read.Principal != in.ID() || read.Subject != "alice" || read.Issuer != idp || read.Txn != "x1" ||
		read.Workload != "notes" || read.Peer != "2001:db8::1" || !slices.Equal(read.Reach, []string{"pg:read"}) || !read.Expires.Equal(in.Expires()) {
		t.Errorf("%+v, %v", read, err)
	}
}

func TestTxnRefuses(t *testing.T) {
	e := newEdgeOf(t)
	in := e.must(t, identity.Edge, e.issue())
	good := identity.TxnGrant{Txn: "x1", Workload: "notes", Reach: in.Reach(), Peer: "192.0.2.7", TTL: time.Minute}
	for name, c := range map[string]struct {
		change func(p *identity.Principal, g *identity.TxnGrant)
		want   refusal.Reason
	}{
		"nobody":             {func(p *identity.Principal, _ *identity.TxnGrant) { *p = identity.Principal{} }, refusal.Unauthenticated},
		"wider":              {func(_ *identity.Principal, g *identity.TxnGrant) { g.Reach = []string{"http", "pg:write"} }, refusal.Narrow},
		"nowhere":            {func(_ *identity.Principal, g *identity.TxnGrant) { g.Reach = nil }, refusal.Narrow},
		"twice":              {func(_ *identity.Principal, g *identity.TxnGrant) { g.Reach = []string{"http", "http"} }, refusal.Narrow},
		"two in one":         {func(_ *identity.Principal, g *identity.TxnGrant) { g.Reach = []string{"http pg:read"} }, refusal.Narrow},
		"no txn":             {func(_ *identity.Principal, g *identity.TxnGrant) { g.Txn = "" }, refusal.Internal},
		"a long txn":         {func(_ *identity.Principal, g *identity.TxnGrant) { g.Txn = strings.Repeat("x", 129) }, refusal.Internal},
		"no workload":        {func(_ *identity.Principal, g *identity.TxnGrant) { g.Workload = "" }, refusal.Internal},
		"a peer that is not": {func(_ *identity.Principal, g *identity.TxnGrant) { g.Peer = "localhost" }, refusal.Internal},
		"a peer with a port": {func(_ *identity.Principal, g *identity.TxnGrant) { g.Peer = "192.0.2.7:80" }, refusal.Internal},
		"no lifetime":        {func(_ *identity.Principal, g *identity.TxnGrant) { g.TTL = 0 }, refusal.Internal},
		"too long a one":     {func(_ *identity.Principal, g *identity.TxnGrant) { g.TTL = 16 * time.Minute }, refusal.Internal},
		"half seconds":       {func(_ *identity.Principal, g *identity.TxnGrant) { g.TTL = 1500 * time.Millisecond }, refusal.Internal},
	} {
		p, g := in, good
		c.change(&p, &g)
		if token, err := e.m.Txn(p, g); err == nil || refusal.Of(err) != c.want || !token.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e.m.Txn(in, identity.TxnGrant{Txn: "x1", Workload: "notes", Reach: in.Reach(), TTL: time.Minute}); err != nil {
		t.Errorf("no peer: %v", err)
	}
	again := e.must(t, identity.Exchange, e.txnOf(t, in))
	if _, err := e.m.Txn(again, identity.TxnGrant{Txn: "x2", Workload: "notes", Reach: in.Reach(), TTL: time.Minute}); err == nil {
		t.Error("a transaction has another id")
	}
	for _, left := range []time.Duration{0, -time.Hour, time.Second - 1} {
		e.now = in.Expires().Add(-left)
		_, err := e.m.Txn(in, good)
		refused(t, left.String()+" left", err, refusal.Expired)
	}
	e.now = in.Expires().Add(-time.Second)
	if _, err := e.m.Txn(in, good); err != nil {
		t.Errorf("a second left: %v", err)
	}
}

func TestNarrowRefuses(t *testing.T) {
	e := newEdgeOf(t)
	in := e.must(t, identity.Edge, e.issue())
	txn := e.txnOf(t, in)
	p := e.must(t, identity.Exchange, txn)
	good := identity.Narrowing{Broker: "postgres", Reach: []string{identity.PGRead}, TTL: time.Hour}
	if _, err := e.m.Narrow(p, good); err != nil {
		t.Fatalf("control: %v", err)
	}
	for name, who := range map[string]identity.Principal{
		"nobody": {}, "a provider's": in, "a store's": e.must(t, "postgres", e.narrowed(t, txn)),
	} {
		_, err := e.m.Narrow(who, good)
		refused(t, name, err, refusal.Unauthenticated)
	}
	for _, door := range []string{identity.Edge, identity.Exchange, "", "Postgres", "postgres qdrant", "isocore:postgres", strings.Repeat("x", 41)} {
		_, err := e.m.Narrow(p, identity.Narrowing{Broker: door, Reach: good.Reach, TTL: good.TTL})
		refused(t, "for "+door, err, refusal.Denied)
	}
	for _, reach := range [][]string{nil, {"pg:write"}, {"pg:read", "pg:write"}, {"pg:read", "pg:read"}, {""}, {"http pg:read"}, {"PG:READ"}} {
		_, err := e.m.Narrow(p, identity.Narrowing{Broker: "postgres", Reach: reach, TTL: good.TTL})
		refused(t, strings.Join(reach, ","), err, refusal.Narrow)
	}
	for _, ttl := range []time.Duration{0, -time.Second, time.Second - 1} {
		if _, err := e.m.Narrow(p, identity.Narrowing{Broker: "postgres", Reach: good.Reach, TTL: ttl}); err == nil {
			t.Errorf("a lifetime of %v", ttl)
		}
	}
	e.now = p.Expires().Add(-time.Second + 1)
	_, err := e.m.Narrow(p, good)
	refused(t, "less than a second left", err, refusal.Expired)
}

// The exchange never widens: whatever is asked for, what comes out is the same
// person in the same transaction, reaches no further and lasts no longer.
func TestAnExchangeNeverWidens(t *testing.T) {
	e := newEdgeOf(t)
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"http", "pg:read", "pg:write", "x:1", "x:2"}
	some := func(of []string) []string {
		if random.IntN(5) == 0 {
			of = words
		}
		return slices.DeleteFunc(slices.Clone(of), func(string) bool { return random.IntN(2) == 0 })
	}
	within := func(of []string) func(string) bool { return func(s string) bool { return !slices.Contains(of, s) } }
	minted := 0
	for range 400 {
		at := e.now
		had := append(some(words), "z")
		e.register(t, func(p *identity.Provider) { p.Reach = had })
		in := e.must(t, identity.Edge, e.issue(member{"act", `{"sub":"bob","act":{"iss":"` + issuer + `","sub":"eve"}}`}))
		e.now = e.now.Add(time.Duration(random.Int64N(int64(6 * time.Minute))))
		reach, ttl := some(had), time.Duration(1+random.IntN(900))*time.Second
		txn, err := e.m.Txn(in, identity.TxnGrant{Txn: "x" + tenant.New().String(), Workload: "notes", Reach: reach, TTL: ttl})
		if err == nil {
			p := e.must(t, identity.Exchange, txn)
			never(t, in, p, slices.ContainsFunc(reach, within(had)) || len(reach) == 0)
			e.now = e.now.Add(time.Duration(random.Int64N(int64(ttl))))
			asked := some(reach)
			store, err := e.m.Narrow(p, identity.Narrowing{Broker: "postgres", Reach: asked, TTL: time.Duration(1+random.IntN(3000)) * time.Second})
			if err == nil {
				minted++
				s := e.must(t, "postgres", store)
				never(t, p, s, slices.ContainsFunc(asked, within(reach)) || len(asked) == 0)
				if s.Txn() != p.Txn() || s.Client() != p.Client() || !slices.Equal(s.Actors(), in.Actors()) {
					t.Errorf("%+v became %+v", p, s)
				}
			}
			if err != nil && refusal.Of(err) != refusal.Narrow && refusal.Of(err) != refusal.Expired {
				t.Errorf("narrow: %v", err)
			}
		}
		if err != nil && refusal.Of(err) != refusal.Narrow && refusal.Of(err) != refusal.Expired {
			t.Errorf("txn: %v", err)
		}
		e.now = at
	}
	if minted < 50 {
		t.Errorf("%d store tokens: it saw too little", minted)
	}
}

func never(t *testing.T, from, to identity.Principal, wider bool) {
	t.Helper()
	if wider || to.Tenant() != from.Tenant() || to.Partner() != from.Partner() || to.ID() != from.ID() || to.Subject() != from.Subject() ||
		to.Issuer() != from.Issuer() || to.Expires().After(from.Expires()) ||
		slices.ContainsFunc(to.Reach(), func(s string) bool { return !from.Has(s) }) {
		t.Errorf("%+v became %+v", from, to)
	}
}

// Everything of a Txn-Token is required, closed and in agreement, for the
// exchange and for an application alike.
func TestHostileTxnTokens(t *testing.T) {
	w := newWorld(t)
	sub := func(f, iss, s string) string { return `{"format":` + f + `,"iss":` + iss + `,"sub":` + s + `}` }
	tctx := func(a, b, c string) string {
		return `{"tenant":"` + a + `","partner":"` + b + `","principal":"` + c + `"}`
	}
	rows := map[string]member{"an unknown claim": {"azd", `{}`}, "the old name of scope": {"purp", `"x"`}, "cnf": {"cnf", `{"jkt":"x"}`}, "scope twice": {"+scope", `"http"`}}
	for _, name := range []string{"iss", "aud", "iat", "exp", "txn", "sub", "sub_id", "scope", "req_wl", "tctx", "rctx"} {
		for _, v := range []string{"", "null", "1", `""`, "[]", "{}", "true"} {
			if v == "1" && (name == "exp" || name == "iat") {
				v = "1.5"
			}
			rows[name+"="+v] = member{name, v}
		}
	}
	for _, v := range []string{`"alice"`, `"` + idOther + `"`, `"` + strings.ToUpper(idU) + `"`} {
		rows["sub="+v] = member{"sub", v}
	}
	i := `"` + issuer + `"`
	for _, v := range []string{
		sub(`"opaque"`, i, `"alice"`), sub(`"iss_sub"`, `"https://other.test"`, `"alice"`), sub(`"iss_sub"`, i, `""`), sub(`"iss_sub"`, i, `"a\nb"`), sub(`"iss_sub"`, `"a b"`, `"x"`),
		`{"format":"iss_sub","iss":` + i + `,"sub":"alice","x":1}`, `[]`,
	} {
		rows["sub_id="+v] = member{"sub_id", v}
	}
	for _, v := range []string{tctx(idT, idP, idOther), tctx("x", idP, idU), tctx(idT, "", idU), tctx(idT[1:], idP, idU), `{"tenant":"` + idT + `","partner":"` + idP + `","principal":"` + idU + `","x":1}`} {
		rows["tctx="+v] = member{"tctx", v}
	}
	for _, v := range []string{`{"iss":"https://other.test","token":"` + idOther + `"}`, `{"iss":` + i + `,"token":""}`, `{"iss":` + i + `,"token":"` + idOther + `","req_ip":"x"}`, `{"token":"` + idOther + `"}`} {
		rows["rctx="+v] = member{"rctx", v}
	}
	rows["aud of a list"] = member{"aud", `["issuer.test"]`}
	rows["aud another case"] = member{"aud", `"ISSUER.test"`}
	rows["iat in the future"] = member{"iat", `1800000100`}
	rows["too long a life"] = member{"exp", `1800000901`}
	rows["exp before iat"] = member{"exp", `1799999999`}
	read := func(token secret.Text) error {
		_, err := identity.ReadTxn(w.sets[issuer], issuer, "issuer.test", token, w.now)
		return err
	}
	good := compact(txnHeader, txnClaims(), w.sign)
	if _, err := w.Verify(t.Context(), identity.Exchange, good); err != nil || read(good) != nil {
		t.Fatalf("control: %v, %v", err, read(good))
	}
	for name, change := range rows {
		token := compact(txnHeader, txnClaims(change), w.sign)
		_, err := w.Verify(t.Context(), identity.Exchange, token)
		refused(t, name, err, refusal.Unauthenticated)
		refused(t, "read: "+name, read(token), refusal.Unauthenticated)
	}
	stranger := newKey(t)
	for name, token := range map[string]secret.Text{
		"forged": compact(txnHeader, txnClaims(), func(b []byte) []byte { return ed25519.Sign(stranger, b) }),
		"typ":    compact(header, txnClaims(), w.sign), "JWT": compact(edHeader, txnClaims(), w.sign),
		"a megabyte": secret.New(strings.Repeat("x", 1<<20)), "nothing": secret.New(""),
	} {
		_, err := w.Verify(t.Context(), identity.Exchange, token)
		refused(t, name, err, refusal.Unauthenticated)
		refused(t, "read: "+name, read(token), refusal.Unauthenticated)
	}
}

func TestReadTxn(t *testing.T) {
	w := newWorld(t)
	token := compact(txnHeader, txnClaims(), w.sign)
	keys := w.sets[issuer]
	for name, c := range map[string]struct {
		keys           *identity.KeySet
		issuer, domain string
		at             time.Duration
		want           refusal.Reason
	}{
		"good":           {keys, issuer, "issuer.test", 0, 0},
		"its last":       {keys, issuer, "issuer.test", 2*time.Minute - 1, 0},
		"over":           {keys, issuer, "issuer.test", 2 * time.Minute, refusal.Expired},
		"a slow clock":   {keys, issuer, "issuer.test", -time.Minute, 0},
		"a slower one":   {keys, issuer, "issuer.test", -time.Minute - 1, refusal.Unauthenticated},
		"no keys":        {nil, issuer, "issuer.test", 0, refusal.Unauthenticated},
		"other keys":     {keySet(t, map[string]any{"k": newKey(t).Public()}), issuer, "issuer.test", 0, refusal.Unauthenticated},
		"another issuer": {keys, "https://other.test", "issuer.test", 0, refusal.Unauthenticated},
		"another domain": {keys, issuer, "other.test", 0, refusal.Unauthenticated},
		"no domain":      {keys, issuer, "", 0, refusal.Unauthenticated},
	} {
		read, err := identity.ReadTxn(c.keys, c.issuer, c.domain, token, w.now.Add(c.at))
		said(t, name, err, c.want)
		if err != nil && (!read.Tenant.IsZero() || read.Reach != nil) {
			t.Errorf("%s: %+v", name, read)
		}
	}
}
