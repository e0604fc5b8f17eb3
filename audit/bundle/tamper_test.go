package bundle

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

// taken is a bundle in parts.
type taken struct {
	names []string
	data  map[string][]byte
}

func take(t testing.TB, b []byte) *taken {
	t.Helper()
	parts, err := readZip(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	all := &taken{data: make(map[string][]byte)}
	for name, r := range parts {
		if all.data[name], err = io.ReadAll(io.NewSectionReader(r, 0, r.Size())); err != nil {
			t.Fatal(err)
		}
		all.names = append(all.names, name)
	}
	slices.Sort(all.names)
	return all
}

func (p *taken) zip(t testing.TB) []byte {
	t.Helper()
	var ms []member
	for _, name := range p.names {
		ms = append(ms, bytesMember(name, p.data[name]))
	}
	var b bytes.Buffer
	if err := writeZip(&b, ms); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A forgery is a bundle whose parts an attacker rearranges. What it does not
// touch is made to fit by refit.
type forgery struct {
	m       Manifest
	records [][]byte // header and ciphertext
	keys    [][]byte
	p       proofs
	head    []byte
}

func open(t testing.TB, b []byte) (*taken, *forgery) {
	t.Helper()
	parts := take(t, b)
	m, err := parseManifest(parts.data[manifestName])
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseProofs(parts.data[proofName], m)
	if err != nil {
		t.Fatal(err)
	}
	f := &forgery{m: *m, p: *p, head: parts.data[headName]}
	for rest := parts.data[recordsName]; len(rest) > 0; {
		s, after, err := trail.CutRecord(rest)
		if err != nil {
			t.Fatal(err)
		}
		f.records = append(f.records, slices.Concat(s.Raw, s.Ciphertext))
		rest = after
	}
	if f.keys, err = parseKeys(parts.data[keysOpen], m.To-m.From); err != nil {
		t.Fatal(err)
	}
	return parts, f
}

// pack returns the bundle of f.
func (f *forgery) pack(t testing.TB, parts *taken) []byte {
	t.Helper()
	var err error
	if parts.data[manifestName], err = f.m.encode(); err != nil {
		t.Fatal(err)
	}
	if parts.data[keysOpen], err = json.Marshal(keysJSON{f.keys, version}); err != nil {
		t.Fatal(err)
	}
	parts.data[recordsName] = nil
	for _, r := range f.records {
		parts.data[recordsName] = trail.AppendRecord(parts.data[recordsName], r)
	}
	parts.data[proofName], parts.data[headName] = f.p.encode(), f.head
	return parts.zip(t)
}

// first returns the index in records of the first one with a payload.
func (f *forgery) first() int { begin, _ := f.m.edges(); return int(f.m.From - begin) }

func (f *forgery) drop(i int) {
	f.records = slices.Delete(f.records, f.first()+i, f.first()+i+1)
	f.keys = slices.Delete(f.keys, i, i+1)
}

// renumber gives the records of f the numbers they should have, in place.
func (f *forgery) renumber(t testing.TB) {
	begin, _ := f.m.edges()
	for i, r := range f.records {
		h, err := trail.ParseHeader(r[:trail.HeaderSize])
		if err != nil {
			t.Fatal(err)
		}
		f.records[i] = slices.Clone(r)
		trail.Number(f.records[i], begin+uint64(i), h.Commit)
	}
}

// resign makes a tree of the records of f, which are all, and signs it.
func (f *forgery) resign(t testing.TB, s note.Signer) {
	t.Helper()
	g, err := newGrower(0, nil, uint64(len(f.records)))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range f.records {
		if err := g.append(trail.Leaf(r[:trail.HeaderSize])); err != nil {
			t.Fatal(err)
		}
	}
	f.m.Size = uint64(len(f.records))
	f.m.From, f.m.To = 0, f.m.Size
	h := trail.Head{Origin: f.m.Log, Size: f.m.Size, Root: [32]byte(g.pinned)}
	if f.head, err = h.Sign(s); err != nil {
		t.Fatal(err)
	}
}

// foreign returns a record of log sealed under key's log, with a number.
func foreign(t testing.TB, log tenant.ID, seq, commit uint64) (record, key []byte) {
	t.Helper()
	version, k, err := ring{}.Current(log)
	if err != nil {
		t.Fatal(err)
	}
	b, err := trail.Seal(k, version, record0(log))
	if err != nil {
		t.Fatal(err)
	}
	trail.Number(b, seq, commit)
	h, err := trail.ParseHeader(b[:trail.HeaderSize])
	if err != nil {
		t.Fatal(err)
	}
	rk, err := trail.RecordKey(k, log, h.RID)
	if err != nil {
		t.Fatal(err)
	}
	return b, rk[:]
}

func record0(log tenant.ID) trail.Record { return record(log, 1000) }

// forgeries are what somebody without the log's key can do to a bundle, given
// one of another log and an older checkpoint.
func forgeries(t *testing.T, others, old []byte) map[string]func(*forgery) {
	commit := func(f *forgery, i int) uint64 {
		h, err := trail.ParseHeader(f.records[f.first()+i][:trail.HeaderSize])
		if err != nil {
			t.Fatal(err)
		}
		return h.Commit
	}
	forger, _ := keys(t, 2)
	return map[string]func(f *forgery){
		"drop last":                func(f *forgery) { f.drop(len(f.keys) - 1) },
		"drop last, say so":        func(f *forgery) { f.drop(len(f.keys) - 1); f.m.To-- },
		"drop last, shorter log":   func(f *forgery) { f.drop(len(f.keys) - 1); f.m.To--; f.m.Size-- },
		"drop first":               func(f *forgery) { f.drop(0) },
		"drop first, say so":       func(f *forgery) { f.drop(0); f.m.From++ },
		"drop first, renumber":     func(f *forgery) { f.drop(0); f.m.To--; f.renumber(t) },
		"drop middle":              func(f *forgery) { f.drop(3) },
		"drop middle, renumber":    func(f *forgery) { f.drop(3); f.m.To--; f.renumber(t) },
		"drop middle, shorter log": func(f *forgery) { f.drop(3); f.m.To--; f.m.Size--; f.renumber(t) },
		"drop a payload":           func(f *forgery) { i := f.first() + 2; f.records[i] = f.records[i][:trail.HeaderSize] },
		"drop all":                 func(f *forgery) { f.records, f.keys = nil, nil; f.m.To = f.m.From },
		"swap":                     func(f *forgery) { i := f.first(); f.records[i], f.records[i+1] = f.records[i+1], f.records[i] },
		"swap, renumber": func(f *forgery) {
			i := f.first()
			f.records[i], f.records[i+1] = f.records[i+1], f.records[i]
			f.renumber(t)
		},
		"swap keys":               func(f *forgery) { f.keys[0], f.keys[1] = f.keys[1], f.keys[0] },
		"renumber one":            func(f *forgery) { r := f.records[f.first()]; trail.Number(r, 99, commit(f, 0)) },
		"other time":              func(f *forgery) { r := f.records[f.first()]; trail.Number(r, f.m.From, commit(f, 0)+1) },
		"duplicate":               func(f *forgery) { f.insert(3, f.records[f.first()+3], f.keys[3]) },
		"duplicate, renumber":     func(f *forgery) { f.insert(3, f.records[f.first()+3], f.keys[3]); f.m.To++; f.m.Size++; f.renumber(t) },
		"inject, rightly sealed":  func(f *forgery) { r, k := foreign(t, id(1), f.m.From+3, commit(f, 3)); f.insert(3, r, k) },
		"replace, rightly sealed": func(f *forgery) { r, k := foreign(t, id(1), f.m.From+3, commit(f, 3)); f.drop(3); f.insert(3, r, k) },
		"append, rightly sealed": func(f *forgery) {
			n := len(f.keys)
			r, k := foreign(t, id(1), f.m.To, commit(f, n-1))
			f.insert(n, r, k)
			f.m.To++
		},
		"after the last":             func(f *forgery) { r, _ := foreign(t, id(1), f.m.To, 1<<45); f.records = append(f.records, r) },
		"one key more":               func(f *forgery) { f.keys = append(f.keys, f.keys[0]) },
		"one key less":               func(f *forgery) { f.keys = f.keys[1:] },
		"replace by another's":       func(f *forgery) { r, k := foreign(t, id(2), f.m.From+3, commit(f, 3)); f.drop(3); f.insert(3, r, k) },
		"another's records":          func(f *forgery) { _, o := open(t, others); f.records, f.keys = o.records, o.keys },
		"another's, our name":        func(f *forgery) { _, o := open(t, others); m := f.m; *f = *o; f.m.Tenant, f.m.Log = m.Tenant, m.Log },
		"another's, name and number": func(f *forgery) { _, o := open(t, others); h := f.head; *f = *o; f.head = h },
		"older checkpoint":           func(f *forgery) { f.head = old },
		"smaller size":               func(f *forgery) { f.m.Size-- },
		"larger size":                func(f *forgery) { f.m.Size++ },
		"older checkpoint and size":  func(f *forgery) { f.head, f.m.Size = old, 20 },
		"narrower window":            func(f *forgery) { f.m.Since, f.m.Until = epoch.Add(7e9), epoch.Add(9e9) },
		"all signed by another": func(f *forgery) {
			h, err := trail.Claimed(f.head)
			if err != nil {
				t.Fatal(err)
			}
			if f.head, err = h.Sign(forger); err != nil {
				t.Fatal(err)
			}
		},
		"previous of nobody": func(f *forgery) { f.m.Previous = trail.Head{Origin: f.m.Log, Size: f.m.Size, Root: [32]byte{1}} },
		"control":            func(*forgery) {},
	}
}

func TestTampering(t *testing.T) {
	l := newLog(t, 20)
	old, err := l.Checkpoint(t.Context(), id(1))
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := l.Append(record(id(1), 20), record(id(1), 21))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range []Window{{}, {From: 6, To: 13}, {Since: epoch.Add(6e9), Until: epoch.Add(13e9)}} {
		b := export(t, l, Export{Window: w})
		others := export(t, l, Export{Log: id(2), Window: w})
		for name, do := range forgeries(t, others, old) {
			parts, f := open(t, b)
			do(f)
			_, err := verify(f.pack(t, parts), Options{Policy: policy(t)})
			if (err == nil) != (name == "control") {
				t.Errorf("%+v: %s: %v", w, name, err)
			}
		}
	}
}

func (f *forgery) insert(i int, record, key []byte) {
	f.records = slices.Insert(f.records, f.first()+i, record)
	f.keys = slices.Insert(f.keys, i, key)
}

// Who has the log's key can leave records out and sign again. That verifies,
// and is reported as worth no more than the operator's word; a pin finds it.
func TestTheOperatorRebuildsTheLog(t *testing.T) {
	l := newLog(t, 20)
	b := export(t, l, Export{})
	pin := mustVerify(t, b, Options{Policy: policy(t)}).Head
	half := head(t, l, id(1), 10)
	operator, _ := keys(t, 1)
	for name, do := range map[string]func(f *forgery){
		"left out":   func(f *forgery) { f.drop(5); f.m.To--; f.m.Size--; f.renumber(t) },
		"cut off":    func(f *forgery) { f.drop(19); f.m.To--; f.m.Size-- },
		"continued":  func(f *forgery) { f.drop(5); f.renumber(t); f.append(t); f.append(t); f.append(t) },
		"reordered":  func(f *forgery) { f.records[2], f.records[3] = f.records[3], f.records[2]; f.renumber(t) },
		"rewritten":  func(f *forgery) { r, k := foreign(t, id(1), 5, 0); f.drop(5); f.insert(5, r, k); f.sameTime(t) },
		"begun anew": func(f *forgery) { f.records, f.keys = nil, nil; f.append(t) },
	} {
		parts, f := open(t, b)
		if name == "reordered" {
			f.keys[2], f.keys[3] = f.keys[3], f.keys[2]
			f.sameTime(t)
		}
		do(f)
		f.resign(t, operator)
		f.m.Previous = trail.Head{}
		f.p = proofs{}
		forged := f.pack(t, parts)
		r := mustVerify(t, forged, Options{Policy: policy(t)})
		if !r.OperatorOnly() || !strings.HasPrefix(r.Worth(), "operator-signed only") {
			t.Errorf("%s: %s", name, r.Worth())
		}
		if _, err := verify(forged, Options{Policy: policy(t), Pin: &pin}); err == nil {
			t.Errorf("%s: the pin of 20 did not find it", name)
		}
		_, err := verify(forged, Options{Policy: policy(t), Pin: &half})
		if (err == nil) != (name == "cut off") {
			t.Errorf("%s: with the pin of 10: %v", name, err)
		}
	}
}

// Even who has the log's key cannot make a bundle of records of two logs.
func TestTheOperatorMixesLogs(t *testing.T) {
	l := newLog(t, 20)
	operator, _ := keys(t, 1)
	for _, log := range []tenant.ID{id(1), id(2)} {
		parts, f := open(t, export(t, l, Export{}))
		r, k := foreign(t, log, 5, 0)
		f.drop(5)
		f.insert(5, r, k)
		f.sameTime(t)
		f.resign(t, operator)
		if _, err := verify(f.pack(t, parts), Options{Policy: policy(t)}); (err == nil) != (log == id(1)) {
			t.Errorf("with a record of log %s: %v", log, err)
		}
	}
}

// append adds a record of the operator's making.
func (f *forgery) append(t testing.TB) {
	n := len(f.records)
	r, k := foreign(t, id(1), uint64(n), 1<<45)
	f.records, f.keys = append(f.records, r), append(f.keys, k)
	f.sameTime(t)
}

// sameTime gives all records one time, so that their order is not the fault.
func (f *forgery) sameTime(t testing.TB) {
	for i := range f.records {
		f.records[i] = slices.Clone(f.records[i])
		trail.Number(f.records[i], uint64(i), 1<<45)
	}
}
