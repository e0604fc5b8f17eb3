package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// Strangers who are refused are counted by network and reason; the first few
// of an interval are told whole, and no flood makes more than one record.
func TestMeter(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	m := newMeter(w.Log, slog.New(slog.DiscardHandler), time.Now)
	for i := range 300 {
		m.Refused("postgres", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), refusal.Unauthenticated)
	}
	m.Refused("postgres", netip.MustParseAddr("2001:db8::1"), refusal.Expired)
	m.Refused("postgres", netip.Addr{}, refusal.Malformed)
	for i := range 2 * maxSources {
		m.Refused("postgres", netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), refusal.TooMany)
	}
	m.write(t.Context())
	m.write(t.Context()) // nothing more
	var told []audit.Record
	for _, r := range w.Records(t, tenant.ID{}) {
		if r.Class == audit.ClassUnauthenticated {
			told = append(told, r)
		}
	}
	if len(told) != 1 {
		t.Fatalf("%d records", len(told))
	}
	r := told[0]
	if r.Resources[0] != "postgres 192.0.2.0/24 Unauthenticated 300" || !strings.Contains(r.Detail, fmt.Sprint(2*maxSources-maxSources+3, " more")) {
		t.Errorf("%q, %q", r.Resources[0], r.Detail)
	}
	if lines := strings.Split(string(r.Text), "\n"); len(lines) != maxFirst || !strings.HasSuffix(lines[0], "postgres 192.0.2.0 Unauthenticated") {
		t.Errorf("%q", r.Text)
	}
}

// A full is a log that takes nothing, and hears how often it was asked.
type full struct{ asked atomic.Int32 }

func (f *full) Append(...audit.Record) (*audit.Receipt, error) {
	f.asked.Add(1)
	return nil, refusal.New(refusal.Unrecorded, "full")
}

// The counts are written each interval in which there are any, and at the end.
func TestMeterRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &full{}
		m := newMeter(log, slog.New(slog.DiscardHandler), time.Now)
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { m.run(ctx); close(over) }()
		step := func(after time.Duration, want int32) {
			t.Helper()
			<-time.After(after)
			synctest.Wait()
			if n := log.asked.Load(); n != want {
				t.Errorf("written %d times, want %d", n, want)
			}
		}
		m.Refused("postgres", netip.Addr{}, refusal.Malformed)
		step(meterInterval-time.Second, 0)
		step(2*time.Second, 1)
		step(meterInterval, 1)
		m.Refused("postgres", netip.Addr{}, refusal.Malformed)
		stop()
		<-over
		step(0, 2)
	})
}

// The signer of the log is known by the key that its policy names.
func TestNoteKey(t *testing.T) {
	signer, vkey, err := noteKey("a.example/audit", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: "x\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(signed, note.VerifierList(v)); err != nil || n.Text != "x\n" {
		t.Errorf("%+v, %v", n, err)
	}
}

// Keys that are missing, short or anybody's to read are all said at once.
func TestReadKeys(t *testing.T) {
	dir := t.TempDir()
	if _, err := readKeys(dir); err == nil || strings.Count(err.Error(), "no such file") != 3 {
		t.Errorf("none: %v", err)
	}
	for _, name := range []string{"kek", "mint", "checkpoint"} {
		if err := os.WriteFile(filepath.Join(dir, name+".key"), []byte(strings.Repeat(name[:1], 32)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if k, err := readKeys(dir); err != nil || k.kek.Reveal() != strings.Repeat("k", 32) {
		t.Errorf("all: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "mint.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kek.key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readKeys(dir); err == nil || !strings.Contains(err.Error(), "mint.key") || !strings.Contains(err.Error(), "kek.key") || strings.Contains(err.Error(), "short") {
		t.Errorf("bad ones: %v", err)
	}
}

// text is a configuration that lacks only its files.
const text = `version: 1
trust_domain: a.example
limits: {default: {rate: %s, statement: %s}}
admin: {listen: %s}
audit: {queue: %s}
brokers: {postgres: {listen: 127.0.0.1:0, store: {address: /run/x, login_file: login, keeper_file: keeper}, databases: {app: {schemas: [app]}}}}
`

func parse(t *testing.T, rate, statement, listen, queue string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"login", "keeper", "keys/registry.dsn"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Join(dir, "isocore.yaml"), fmt.Appendf(nil, text, rate, statement, listen, queue))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var errFull = errors.New("the trail is full")

// A reload takes over limits; of anything else that changed it says what, and
// takes over nothing.
func TestReload(t *testing.T) {
	now := parse(t, "500/s", "30s", "127.0.0.1:1", "100")
	l, err := limit.New(limits(now))
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{config: now, limiter: l}
	var recorded [][]string
	record := func(_ context.Context, _ *config.Config, routes []string) error {
		recorded = append(recorded, routes)
		return nil
	}
	next := *now
	next.Limits.Default.Rate.N = 7
	next.Admin.Listen = config.Listen{} // as chosen at the start
	if err := n.reload(t.Context(), &next, record); err != nil || len(recorded) != 1 {
		t.Errorf("%v, %d records", err, len(recorded))
	}
	if err := n.reload(t.Context(), &next, func(context.Context, *config.Config, []string) error { return errFull }); !errors.Is(err, errFull) {
		t.Errorf("not recorded: %v", err)
	}
	next.Audit.Queue = 7
	next.Limits.Default.Statement = 1
	err = n.reload(t.Context(), &next, record)
	if err == nil || !strings.Contains(err.Error(), `"queue: 100" is "queue: 7" now`) || !strings.Contains(err.Error(), "statement") || strings.Contains(err.Error(), "rate") {
		t.Error(err)
	}
}

// A flaw in the catalogs keeps a node from opening: examined in cmd/isocore
// and e2e, with a real store. What cannot be reached at all is said here.
func TestOpenNothing(t *testing.T) {
	c := parse(t, "500/s", "30s", "127.0.0.1:0", "100")
	if _, err := Open(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "kek.key") {
		t.Error(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.Admin.Listen = config.Listen{AddrPort: netip.MustParseAddrPort(taken.Addr().String())}
	if _, err := Open(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
}
