package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/segment"
	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

const origin = "isocore.test/audit"

var epoch = time.UnixMilli(1_700_000_000_000).UTC()

type ring struct{}

func (ring) Current(log tenant.ID) (uint32, [32]byte, error) {
	key, err := ring{}.At(log, 1)
	return 1, key, err
}

func (ring) At(log tenant.ID, version uint32) ([32]byte, error) {
	return sha256.Sum256(fmt.Appendf(nil, "key %d of %s", version, log)), nil
}

func id(n byte) tenant.ID { return tenant.FromUUID([16]byte{15: n}) }

// keys returns the same key pair for the same seed.
func keys(t testing.TB, seed byte) (note.Signer, string) {
	t.Helper()
	s, v, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 64)), origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(s)
	if err != nil {
		t.Fatal(err)
	}
	return signer, v
}

func policy(t testing.TB, lines ...string) *Policy {
	t.Helper()
	_, v := keys(t, 1)
	if lines == nil {
		lines = []string{"quorum none"}
	}
	p, err := ParsePolicy("log " + v + "\n" + strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newLog returns a log in which tenant 1 and 2 have n records each, a second
// apart: record i is of epoch + i seconds.
func newLog(t testing.TB, n int) *audit.Log {
	t.Helper()
	dir := t.TempDir()
	commit, err := segment.Open(filepath.Join(dir, "log"), 0)
	if err != nil {
		t.Fatal(err)
	}
	now := make(chan time.Time, 1)
	now <- epoch
	signer, _ := keys(t, 1)
	l, err := audit.Open(t.Context(), audit.Config{
		Commit: commit, Keys: ring{}, Signer: signer, Origin: origin, Dir: dir, Interval: time.Microsecond, Queue: 1 << 12,
		Deadline: time.Minute, MinFree: 1e-6, Epoch: time.Minute,
		Now: func() time.Time { at := <-now; now <- at; return at },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for i := 0; i < n; {
		<-now
		now <- epoch.Add(time.Duration(i) * time.Second)
		for _, log := range []tenant.ID{id(1), id(2)} {
			rs := make([]audit.Record, 1)
			if n > 1000 {
				rs = make([]audit.Record, 1000)
			}
			for j := range rs {
				rs[j] = record(log, i+j)
			}
			receipt, err := l.Append(rs...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := receipt.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if log == id(2) {
				i += len(rs)
			}
		}
	}
	return l
}

func record(log tenant.ID, i int) audit.Record {
	return audit.Record{
		Log: log, Kind: audit.Decision, Class: audit.ClassStatement, Subject: "ann", Issuer: "https://idp.test",
		Txn: fmt.Sprintf("%s-%d", log, i), Peer: "127.0.0.1:4711", Session: "0123456789abcdef", Broker: "postgres",
		Operation: "Execute select", Verdict: "confine", Resources: []string{"app.document"},
		Text: []byte("select id, title from document where kind = $1 order by created limit 20"),
	}
}

func export(t testing.TB, src Source, x Export) []byte {
	t.Helper()
	if x.Policy == nil {
		x.Policy = policy(t)
	}
	x.Created = epoch.Add(time.Hour)
	if x.Log.IsZero() {
		x.Log = id(1)
	}
	var b bytes.Buffer
	if _, err := Write(t.Context(), &b, src, x); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(b []byte, o Options) (*Report, error) {
	return Verify(bytes.NewReader(b), int64(len(b)), o)
}

func mustVerify(t testing.TB, b []byte, o Options) *Report {
	t.Helper()
	r, err := verify(b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func txns(t testing.TB, r *Report) []string {
	t.Helper()
	var all []string
	for o, err := range r.Records() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o.Record.Txn)
	}
	return all
}

func numbers(log tenant.ID, from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("%s-%d", log, i))
	}
	return all
}

func TestWindows(t *testing.T) {
	l := newLog(t, 20)
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Second) }
	for _, c := range []struct {
		window   Window
		from, to int
	}{
		{Window{}, 0, 20},
		{Window{From: 5, To: 12}, 5, 12},
		{Window{From: 19}, 19, 20},
		{Window{To: 1}, 0, 1},
		{Window{From: 20}, 20, 20},
		{Window{From: 7, To: 7}, 7, 7},
		{Window{Since: at(3), Until: at(9)}, 3, 9},
		{Window{Since: at(3)}, 3, 20},
		{Window{Until: at(9)}, 0, 9},
		{Window{Since: at(3).Add(time.Millisecond), Until: at(9).Add(time.Millisecond)}, 4, 10},
		{Window{Since: at(3).Add(time.Millisecond), Until: at(3).Add(2 * time.Millisecond)}, 4, 4},
		{Window{Since: at(-9), Until: at(-8)}, 0, 0},
		{Window{Since: at(100), Until: at(200)}, 20, 20},
	} {
		r := mustVerify(t, export(t, l, Export{Window: c.window}), Options{Policy: policy(t)})
		if got := txns(t, r); !slices.Equal(got, numbers(id(1), c.from, c.to)) || r.Head.Size != 20 || !r.Opened {
			t.Errorf("%+v: %v", c.window, got)
		}
		if !r.OperatorOnly() || !strings.Contains(r.Worth(), "operator-signed only: removal before 2023-11-14T23:13:20Z is not detectable") {
			t.Error(r.Worth())
		}
	}
	empty := mustVerify(t, export(t, l, Export{Log: id(9)}), Options{Policy: policy(t)})
	if len(txns(t, empty)) != 0 || empty.Head.Size != 0 {
		t.Error("a log without records")
	}
	own := mustVerify(t, export(t, l, Export{}), Options{})
	if !own.OwnPolicy || !own.Less() || !strings.Contains(own.Worth(), "from the bundle itself") {
		t.Error(own.Worth())
	}
	if own = mustVerify(t, export(t, l, Export{}), Options{Pin: &own.Head}); own.OperatorOnly() || !own.Less() {
		t.Error(own.Worth())
	}
	for _, w := range []Window{{From: 3, To: 2}, {To: 21}, {From: 21}, {From: 1, Since: at(1)}, {Since: at(5), Until: at(4)}} {
		x := Export{Log: id(1), Window: w, Policy: policy(t), Created: epoch}
		if _, err := Write(t.Context(), io.Discard, l, x); err == nil {
			t.Errorf("%+v was exported", w)
		}
	}
}

func TestSealed(t *testing.T) {
	l := newLog(t, 20)
	auditor, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := export(t, l, Export{Recipient: auditor.Recipient()})
	r := mustVerify(t, b, Options{Policy: policy(t), Identity: auditor})
	if !slices.Equal(txns(t, r), numbers(id(1), 0, 20)) || !r.Opened {
		t.Error("the auditor cannot read")
	}
	r = mustVerify(t, b, Options{Policy: policy(t)})
	if r.Opened || len(txns(t, r)) != 20 || txns(t, r)[0] != "" {
		t.Error("anybody can read")
	}
	if _, err := verify(b, Options{Policy: policy(t), Identity: other}); err == nil {
		t.Error("somebody else can read")
	}
	for i := range b {
		b[i] ^= 1
		if _, err := verify(b, Options{Policy: policy(t)}); err == nil {
			t.Fatalf("byte %d was flipped", i)
		}
		b[i] ^= 1
	}
}

// everyByte is the distance between the bytes that are flipped.
func everyByte() int {
	if testing.Short() {
		return 13
	}
	return 1
}

func TestEveryFlippedByte(t *testing.T) {
	l, trusted := newLog(t, 20), Options{Policy: policy(t)}
	stride := everyByte()
	for _, w := range []Window{{}, {From: 6, To: 13}, {Since: epoch.Add(6 * time.Second), Until: epoch.Add(13 * time.Second)}} {
		b := export(t, l, Export{Window: w, Previous: head(t, l, id(1), 4)})
		mustVerify(t, b, Options{Policy: policy(t)})
		for i := 0; i < len(b); i += stride {
			b[i] ^= 1 << (i % 8)
			if _, err := verify(b, trusted); err == nil {
				t.Fatalf("byte %d was flipped", i)
			}
			if _, err := verify(b, Options{}); err == nil {
				t.Fatalf("byte %d was flipped, with the bundle's own policy", i)
			}
			b[i] ^= 1 << (i % 8)
		}
		for n := 0; n < len(b); n += stride {
			if _, err := verify(b[:n], trusted); err == nil {
				t.Fatalf("cut off at %d", n)
			}
		}
		if _, err := verify(append(slices.Clone(b), 0), Options{Policy: policy(t)}); err == nil {
			t.Fatal("a byte was added")
		}
	}
}

// Whoever flips a byte can also repair the checksums of the zip file.
func TestEveryFlippedByteWithRepairedChecksums(t *testing.T) {
	l, trusted := newLog(t, 20), Options{Policy: policy(t)}
	stride := everyByte()
	b := export(t, l, Export{Window: Window{From: 6, To: 13}, Previous: head(t, l, id(1), 4)})
	parts := take(t, b)
	for _, name := range parts.names {
		for i := 0; i < len(parts.data[name]); i += stride {
			for _, bits := range []byte{1 << (i % 8), 1} {
				parts.data[name][i] ^= bits
				if _, err := verify(parts.zip(t), trusted); err == nil && !free(name, parts.data[name], i) {
					t.Fatalf("%s: byte %d was flipped by %#x", name, i, bits)
				}
				parts.data[name][i] ^= bits
			}
		}
	}
}

// free reports whether a byte is the exporter's word only: when the bundle was
// made, and whose keys it thinks should count, which the verifier's own policy
// overrules.
func free(name string, b []byte, i int) bool {
	created := bytes.Index(b, []byte(`"created":"`))
	return name == policyName || name == manifestName && i > created && i < created+40
}

func head(t testing.TB, l *audit.Log, log tenant.ID, size uint64) trail.Head {
	t.Helper()
	hashes, err := l.Nodes(t.Context(), log, compact.RangeNodes(0, size, nil))
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGrower(size, slicesOf(hashes), size)
	if err != nil {
		t.Fatal(err)
	}
	return trail.Head{Origin: trail.Origin(origin, log), Size: size, Root: [32]byte(g.pinned)}
}

func slicesOf(hashes [][32]byte) [][]byte {
	var all [][]byte
	for i := range hashes {
		all = append(all, hashes[i][:])
	}
	return all
}

func TestPins(t *testing.T) {
	l := newLog(t, 20)
	at := func(n uint64) *trail.Head { h := head(t, l, id(1), n); return &h }
	for _, c := range []struct {
		window   Window
		previous uint64
		pin      uint64
		ok       bool
	}{
		{Window{}, 0, 1, true},
		{Window{}, 0, 13, true},
		{Window{}, 0, 20, true},
		{Window{From: 13}, 0, 13, true},
		{Window{From: 13, To: 15}, 0, 16, true},
		{Window{From: 13, To: 15}, 0, 17, false},
		{Window{From: 13}, 0, 11, false},
		{Window{From: 13}, 11, 11, true},
		{Window{From: 13, To: 14}, 19, 19, true},
		{Window{From: 13, To: 14}, 20, 20, true},
		{Window{From: 13, To: 14}, 0, 20, true},
		{Window{From: 13, To: 14}, 7, 9, false},
	} {
		x := Export{Window: c.window}
		if c.previous > 0 {
			x.Previous = *at(c.previous)
		}
		b := export(t, l, x)
		r, err := verify(b, Options{Policy: policy(t), Pin: at(c.pin)})
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if err != nil && !strings.Contains(err.Error(), "cannot be pinned") {
			t.Error(err)
		}
		if err == nil && (r.Worth() != fmt.Sprintf("pinned to checkpoint %d", c.pin) || r.Less()) {
			t.Error(r.Worth())
		}
		other := at(c.pin)
		other.Root[0] ^= 1
		if _, err := verify(b, Options{Policy: policy(t), Pin: other}); err == nil {
			t.Errorf("%+v: pinned to a log that it is not", c)
		}
		other = at(c.pin)
		other.Origin = trail.Origin(origin, id(2))
		if _, err := verify(b, Options{Policy: policy(t), Pin: other}); err == nil {
			t.Errorf("%+v: pinned to another log", c)
		}
	}
	beyond := at(20)
	beyond.Size = 21
	if _, err := verify(export(t, l, Export{}), Options{Policy: policy(t), Pin: beyond}); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Error(err)
	}
	again, err := trail.ParseHead(at(7).String())
	if err != nil || again != *at(7) {
		t.Error(again, err)
	}
	fork := *at(7)
	fork.Root[3] ^= 1
	x := Export{Log: id(1), Previous: fork, Policy: policy(t), Created: epoch}
	if _, err := Write(t.Context(), io.Discard, l, x); err == nil {
		t.Error("exported a continuation of another log")
	}
}

// cosign adds the cosignature of the witness with the seed to a checkpoint.
func cosign(signed []byte, seed byte, name string) ([]byte, string) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	key := append([]byte{4}, private.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	text, _, _ := strings.Cut(string(signed), "\n\n")
	sig := binary.BigEndian.AppendUint64(sum[:4:4], 1_700_000_000)
	sig = append(sig, ed25519.Sign(private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", 1_700_000_000, text))...)
	line := fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(sig))
	return append(slices.Clone(signed), line...), fmt.Sprintf("%s+%08x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(key))
}

func TestWitnesses(t *testing.T) {
	l := newLog(t, 20)
	parts := take(t, export(t, l, Export{}))
	signed, v1 := cosign(parts.data[headName], 7, "witness.test/one")
	both, v2 := cosign(signed, 8, "witness.test/two")
	_, v3 := cosign(signed, 9, "witness.test/three")
	define := []string{"witness one " + v1, "witness two " + v2, "witness three " + v3, "group g 2 one two three"}
	for _, c := range []struct {
		checkpoint []byte
		quorum     string
		worth      string
		less       bool
	}{
		{both, "g", "witnessed by one, two", false},
		{signed, "one", "witnessed by one", false},
		{signed, "none", "witnessed by one", false},
		{signed, "g", "witnessed by one; without the witnesses that the policy asks for", true},
		{parts.data[headName], "g", "operator-signed only: removal before 2023-11-14T23:13:20Z is not detectable; without the witnesses that the policy asks for", true},
		{both, "three", "witnessed by one, two; without the witnesses that the policy asks for", true},
	} {
		parts.data[headName] = c.checkpoint
		r := mustVerify(t, parts.zip(t), Options{Policy: policy(t, append(define, "quorum "+c.quorum)...)})
		if r.Worth() != c.worth || r.Less() != c.less {
			t.Errorf("%s: %s, %v", c.quorum, r.Worth(), r.Less())
		}
	}
	broken := bytes.Clone(signed)
	broken[len(broken)-20] ^= 1
	parts.data[headName] = broken
	if _, err := verify(parts.zip(t), Options{Policy: policy(t, append(define, "quorum none")...)}); err == nil {
		t.Error("a bad cosignature passed")
	}
	parts.data[headName] = append(slices.Clone(signed), signed[bytes.LastIndex(signed[:len(signed)-1], []byte("\n"))+1:]...)
	if _, err := verify(parts.zip(t), Options{Policy: policy(t, append(define, "quorum none")...)}); err == nil {
		t.Error("a cosignature counted twice")
	}
}
