package bundle

import (
	"bytes"
	"os"
	"slices"
	"testing"
)

func FuzzPolicy(f *testing.F) {
	_, v := keys(f, 1)
	_, w := cosign([]byte("a\n\n"), 7, "witness.test/one")
	f.Add("log " + v + "\nquorum none\n")
	f.Add("# ours\n\nlog " + v + "\n\twitness a  " + w + "\ngroup g all a\nquorum g")
	f.Add("log " + v + "\nwitness a " + w + "\ngroup g 1 a\ngroup h any g\nquorum h")
	// Oracle: what ParsePolicy accepts has one form, which it accepts as the
	// same; and that can be asked for its quorum.
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := ParsePolicy(p.String())
		if err != nil || again.String() != p.String() || again.quorum != p.quorum || len(again.witness) != len(p.witness) {
			t.Errorf("%q is %q, %v", text, p, err)
		}
		if p.quorum != none && p.met(p.quorum, nil) {
			t.Errorf("%q is met by nobody", text)
		}
	})
}

func FuzzManifest(f *testing.F) {
	for _, m := range []Manifest{
		{Created: epoch, Log: "a/t/b", Tenant: id(1), Size: 3, To: 2},
		{Created: epoch, Log: "a/t/b", Size: 3, From: 1, To: 2, Since: epoch, Until: epoch},
	} {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	// Oracle: what parseManifest accepts, encode writes again.
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		if again, err := m.encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is %+v, %v", b, m, err)
		}
	})
}

// FuzzBundle replaces one member of a good bundle, or all of it.
func FuzzBundle(f *testing.F) {
	good, err := os.ReadFile(versionOne)
	if err != nil {
		f.Fatal(err)
	}
	trusted := Options{Policy: policy(f)}
	parts := take(f, good)
	want := mustVerify(f, good, trusted)
	for i, name := range parts.names {
		f.Add(uint8(i), parts.data[name])
	}
	f.Add(uint8(len(parts.names)), good)
	// Oracle: what verifies says of the log exactly what the good one says.
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		b := data
		if int(which) < len(parts.names) {
			changed := &taken{parts.names, map[string][]byte{}}
			for _, name := range parts.names {
				changed.data[name] = parts.data[name]
			}
			changed.data[parts.names[which]] = data
			b = changed.zip(t)
		}
		r, err := verify(b, trusted)
		if err != nil {
			return
		}
		got, m := take(t, b), r.Manifest
		m.Created = want.Manifest.Created
		if r.Head != want.Head || m != want.Manifest || !slices.Equal(r.leaves, want.leaves) ||
			!bytes.Equal(got.data[recordsName], parts.data[recordsName]) || !bytes.Equal(got.data[keysOpen], parts.data[keysOpen]) {
			t.Errorf("%d: %q verifies", which, data)
		}
	})
}
