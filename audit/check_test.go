package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit/segment"
	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

const origin = "isocore.test/audit"

// ring derives every key from its name.
type ring struct{}

func (ring) Current(log tenant.ID) (uint32, [32]byte, error) {
	key, err := ring{}.At(log, 7)
	return 7, key, err
}

func (ring) At(log tenant.ID, version uint32) ([32]byte, error) {
	return sha256.Sum256(fmt.Appendf(nil, "key %d of %s", version, log)), nil
}

// signer returns a key pair that is the same every time.
func signer(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	s, v, err := note.GenerateKey(bytes.NewReader(make([]byte, 64)), origin)
	if err != nil {
		t.Fatal(err)
	}
	sign, err := note.NewSigner(s)
	if err != nil {
		t.Fatal(err)
	}
	verify, err := note.NewVerifier(v)
	if err != nil {
		t.Fatal(err)
	}
	return sign, verify
}

func config(t testing.TB, dir string, commit CommitLog) Config {
	t.Helper()
	sign, _ := signer(t)
	return Config{
		Commit: commit, Keys: ring{}, Signer: sign, Origin: origin, Dir: dir, Interval: time.Millisecond, Queue: 4096,
		Deadline: 30 * time.Second, MinFree: 1e-6, Epoch: 20 * time.Millisecond, Now: time.Now,
	}
}

// openDir opens the log in dir, on segments.
func openDir(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := tryDir(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryDir(t testing.TB, dir string) (*Log, error) {
	t.Helper()
	commit, err := segment.Open(filepath.Join(dir, "log"), 0)
	if err != nil {
		return nil, err
	}
	l, err := Open(t.Context(), config(t, dir, commit))
	if err != nil {
		return nil, errors.Join(err, commit.Close())
	}
	return l, nil
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func id(n byte) tenant.ID { return tenant.FromUUID([16]byte{15: n}) }

// statement is a decision that can be told from any other.
func statement(log tenant.ID, txn string) Record {
	return Record{
		Log: log, Kind: Decision, Class: ClassStatement, Subject: "ann", Issuer: "https://idp.test", Txn: txn,
		Peer: "127.0.0.1:1", Session: "s", Broker: "postgres", Operation: "Execute select", Verdict: "confine",
		Resources: []string{"app.document"}, Text: []byte("select 1 -- " + txn),
	}
}

// checked is what checkLog found.
type checked struct {
	txns  map[Ref]string
	sizes map[tenant.ID]uint64
	trees map[tenant.ID]*compact.Range
	roots map[tenant.ID][][]byte // by size
	last  map[tenant.ID]uint64
}

// checkLog verifies everything in dir from the bytes, with none of the code
// that wrote them but the payload's: frames, checksums, chain, numbers, times,
// seals, trees, checkpoints and, where they claim to be, index entries.
func checkLog(t testing.TB, dir string) *checked {
	t.Helper()
	c := &checked{
		make(map[Ref]string), make(map[tenant.ID]uint64), make(map[tenant.ID]*compact.Range),
		make(map[tenant.ID][][]byte), make(map[tenant.ID]uint64),
	}
	names, err := filepath.Glob(filepath.Join(dir, "log", "0", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	no, prev := uint64(0), [32]byte{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%016x.seg", no); filepath.Base(name) != want {
			t.Fatalf("segment %s begins with batch %d", name, no)
		}
		for len(b) > 0 {
			n := 52 + int(binary.BigEndian.Uint32(b))
			frame := b[:n]
			crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
			crc.Write(frame[:4])
			crc.Write(frame[8:])
			if crc.Sum32() != binary.BigEndian.Uint32(frame[4:]) || binary.BigEndian.Uint32(frame[8:]) != 0 ||
				binary.BigEndian.Uint64(frame[12:]) != no || [32]byte(frame[20:52]) != prev {
				t.Fatalf("%s: bad frame for batch %d", name, no)
			}
			c.batch(t, frame[52:])
			b, prev, no = b[n:], sha256.Sum256(frame), no+1
		}
	}
	c.derived(t, dir)
	return c
}

func (c *checked) batch(t testing.TB, body []byte) {
	t.Helper()
	be := binary.BigEndian
	for len(body) > 0 {
		n := int(be.Uint32(body))
		header, cipher := body[4:4+134], body[4+134:4+n]
		body = body[4+n:]
		log := tenant.FromUUID([16]byte(header[6:22]))
		seq, commit := be.Uint64(header[22:]), be.Uint64(header[30:])
		if seq != c.sizes[log] || commit < c.last[log] || sha256.Sum256(cipher) != [32]byte(header[70:102]) {
			t.Fatalf("record %d of %s: size %d, time %d after %d, or ciphertext", seq, log, c.sizes[log], commit, c.last[log])
		}
		h, err := trail.ParseHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		key, _ := ring{}.At(log, be.Uint32(header[62:]))
		key, err = trail.RecordKey(key, log, h.RID)
		if err != nil {
			t.Fatal(err)
		}
		r, err := trail.Unseal(key, h, cipher)
		if err != nil {
			t.Fatal(err)
		}
		c.txns[Ref{Log: log, Seq: seq}] = r.Txn
		if c.trees[log] == nil {
			c.trees[log] = (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
			c.roots[log] = [][]byte{rfc6962.DefaultHasher.EmptyRoot()}
		}
		if err := c.trees[log].Append(rfc6962.DefaultHasher.HashLeaf(header), nil); err != nil {
			t.Fatal(err)
		}
		root, err := c.trees[log].GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		c.roots[log] = append(c.roots[log], root)
		c.sizes[log], c.last[log] = seq+1, commit
	}
}

// derived checks that no checkpoint says anything that is not durable.
func (c *checked) derived(t testing.TB, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "t", "*", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c.checkpoint(t, b)
	}
}

func (c *checked) checkpoint(t testing.TB, b []byte) {
	t.Helper()
	_, verify := signer(t)
	n, err := note.Open(b, note.VerifierList(verify))
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(n.Text, "\n")
	log, err := parseLog(strings.TrimPrefix(line[0], origin+"/t/"))
	if err != nil {
		t.Fatal(err)
	}
	var size uint64
	if _, err := fmt.Sscan(line[1], &size); err != nil || size > c.sizes[log] {
		t.Fatalf("checkpoint of %s: %d of %d records, %v", log, size, c.sizes[log], err)
	}
	if want := base64.StdEncoding.EncodeToString(c.roots[log][size]); line[2] != want {
		t.Fatalf("checkpoint %d of %s has another root", size, log)
	}
}

// contains fails unless every acknowledged record is there.
func (c *checked) contains(t testing.TB, acked map[Ref]string) {
	t.Helper()
	for ref, txn := range acked {
		if c.txns[ref] != txn {
			t.Fatalf("acknowledged record %v is %q, was %q", ref, c.txns[ref], txn)
		}
	}
}

// memory is a commit log that can be told to misbehave.
type memory struct {
	mu      sync.Mutex
	batches []Batch
	err     error
	before  func(no uint64) error // called without mu; its error is for ever
}

func (m *memory) Append(_ context.Context, b Batch) error {
	if m.before != nil {
		if err := m.before(b.No); err != nil {
			m.mu.Lock()
			m.err = err
			m.mu.Unlock()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	b.Frame = bytes.Clone(b.Frame)
	m.batches = append(m.batches, b)
	return nil
}

func (m *memory) Replay(ctx context.Context, from uint64, f func(Batch) error) error {
	m.mu.Lock()
	batches := m.batches
	m.mu.Unlock()
	for _, b := range batches[min(from, uint64(len(batches))):] {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Close() error { return nil }

// has returns the txns that are durable in m.
func (m *memory) has(t testing.TB) map[Ref]string {
	t.Helper()
	c := &checked{
		make(map[Ref]string), make(map[tenant.ID]uint64), make(map[tenant.ID]*compact.Range),
		make(map[tenant.ID][][]byte), make(map[tenant.ID]uint64),
	}
	for _, b := range m.batches {
		c.batch(t, b.Frame[52:])
	}
	return c.txns
}
