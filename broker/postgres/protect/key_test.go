package protect_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

func claims() protect.Claims {
	at := time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC)
	return protect.Claims{Tenant: tenant.New(), Principal: [16]byte{1, 15: 2}, Reach: []string{"pg:read", "pg:write"}, IssuedAt: at, Expires: at.Add(time.Minute)}
}

// TestContextLayout reads a context back by the written layout, with
// crypto/hmac over an input assembled here.
func TestContextLayout(t *testing.T) {
	k, c := protect.NewKey(), claims()
	start := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	text := k.Context(c, 0xabcde, start)
	micros := func(t time.Time) string { return fmt.Sprintf("%016x", t.UnixMicro()-946684800000000) }
	head := "v1" + k.ID() + c.Tenant.String() + hex.EncodeToString(c.Principal[:]) + micros(c.IssuedAt) + micros(c.Expires)
	reach := sha256.Sum256([]byte("pg:read pg:write"))
	h := hmac.New(sha256.New, k.Secret())
	fmt.Fprintf(h, "isocore.ctx.v1%s%s%x%x%x%s%s%s", k.ID(), c.Tenant, c.Principal, reach, []byte{0, 0xa, 0xbc, 0xde}, micros(start), micros(c.IssuedAt), micros(c.Expires))
	if want := head + hex.EncodeToString(h.Sum(nil)) + "pg:read pg:write"; text != want {
		t.Errorf("context\n%s, want\n%s", text, want)
	}
}

// TestPads shows that two plain hashes over the pads are crypto/hmac.
func TestPads(t *testing.T) {
	for range 100 {
		k := protect.NewKey()
		m := make([]byte, 200)
		rand.Read(m)
		inner, outer := k.Pads()
		in := sha256.Sum256(append(inner, m...))
		got := sha256.Sum256(append(outer, in[:]...))
		h := hmac.New(sha256.New, k.Secret())
		h.Write(m)
		if !hmac.Equal(got[:], h.Sum(nil)) {
			t.Fatal("the pads do not make HMAC-SHA256")
		}
	}
}

func TestClaimsCheck(t *testing.T) {
	for name, change := range map[string]func(*protect.Claims){
		"no tenant":      func(c *protect.Claims) { c.Tenant = tenant.ID{} },
		"no principal":   func(c *protect.Claims) { c.Principal = [16]byte{} },
		"no issue time":  func(c *protect.Claims) { c.IssuedAt = time.Time{} },
		"no expiry":      func(c *protect.Claims) { c.Expires = time.Time{} },
		"over at once":   func(c *protect.Claims) { c.Expires = c.IssuedAt },
		"before 2000":    func(c *protect.Claims) { c.IssuedAt = time.Unix(0, 0) },
		"empty word":     func(c *protect.Claims) { c.Reach = []string{""} },
		"two words":      func(c *protect.Claims) { c.Reach = []string{"pg:read pg:write"} },
		"newline":        func(c *protect.Claims) { c.Reach = []string{"pg:read\n"} },
		"nul":            func(c *protect.Claims) { c.Reach = []string{"pg:\x00"} },
		"not ASCII":      func(c *protect.Claims) { c.Reach = []string{"pg:é"} },
		"backslash":      func(c *protect.Claims) { c.Reach = []string{`pg\read`} },
		"long reach":     func(c *protect.Claims) { c.Reach = []string{strings.Repeat("x", 513)} },
		"many long ones": func(c *protect.Claims) { c.Reach = []string{strings.Repeat("x", 256), strings.Repeat("y", 256)} },
	} {
		c := claims()
		change(&c)
		if c.Check() == nil || protect.NewKey().Context(c, 1, time.Now()) != "" {
			t.Errorf("%s: a context was made", name)
		}
	}
	c := claims()
	c.Reach = []string{strings.Repeat("x", 256), strings.Repeat("y", 255)}
	if text := protect.NewKey().Context(c, 1, time.Now()); len(text) != 170+512 {
		t.Errorf("the longest context has %d bytes", len(text))
	}
	c.Reach = nil
	if text := protect.NewKey().Context(c, 1, time.Now()); len(text) != 170 {
		t.Errorf("the shortest context has %d bytes", len(text))
	}
}

func TestKeyHidden(t *testing.T) {
	k := protect.NewKey()
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", k)
	fmt.Fprintf(&out, "%v %+v %#v %x %s %d", k, k, k, k, k, &k)
	j, err := json.Marshal(k)
	must(t, err)
	out.Write(j)
	if s := hex.EncodeToString(k.Secret()); strings.Contains(out.String(), s) || strings.Contains(out.String(), fmt.Sprint(k.Secret())) || !strings.Contains(out.String(), secret.Hidden) {
		t.Errorf("printed: %s", out.String())
	}
}

// TestScram compares with the verifier that PostgreSQL itself computes of the
// password and salt of RFC 7677, section 3.
func TestScram(t *testing.T) {
	salt := []byte("[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81")
	got, err := protect.Scram("pencil", salt)
	must(t, err)
	if want := "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="; got != want {
		t.Errorf("verifier %s, want %s", got, want)
	}
}

func hmacOf(k protect.Key, text string) []byte {
	h := hmac.New(sha256.New, k.Secret())
	h.Write([]byte(text))
	return h.Sum(nil)
}
