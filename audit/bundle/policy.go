package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit/trail"
)

// A Policy says whose signatures count: the log's, and those of how many of
// which witnesses. As text it is modelled on C2SP tlog-policy, a line each:
//
//	log <vkey>
//	witness <name> <vkey>
//	group <name> <number|any|all> <witness or group>...
//	quorum <witness or group|none>
//
// Empty lines and those that begin with # are passed over. There is one log,
// and one quorum at the end; a name is defined before it is used, and is in one
// group at most.
type Policy struct {
	origin  string // the key's name: what all origins begin with
	log     note.Verifier
	key     []byte
	lines   []string // in their one form
	names   map[string]node
	witness []cosigner
	quorum  string
}

// A node is a witness or a group.
type node struct {
	witness int // in Policy.witness, or -1
	need    int
	members []string
	grouped bool // is a member of a group
}

const (
	maxPolicy = 64 << 10
	maxNames  = 128
	none      = "none"
)

// ParsePolicy returns the policy that text states.
func ParsePolicy(text string) (*Policy, error) {
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("bundle: a policy of %d bytes, %d at most", len(text), maxPolicy)
	}
	p := &Policy{names: make(map[string]node)}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.line(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("bundle: policy line %d: %w", i+1, err)
		}
	}
	if p.quorum == "" {
		return nil, errors.New("bundle: a policy ends with a quorum; without witnesses it is \"quorum none\"")
	}
	return p, nil
}

func (p *Policy) line(word []string) error {
	if (p.log == nil) != (word[0] == "log") {
		return errors.New("there is one log, and it comes first")
	}
	if p.quorum != "" {
		return errors.New("the quorum is the last line")
	}
	switch {
	case word[0] == "log" && len(word) == 2:
		return p.addLog(word[1])
	case word[0] == "witness" && len(word) == 3:
		return p.addWitness(word[1], word[2])
	case word[0] == "group" && len(word) >= 4:
		return p.addGroup(word[1], word[2], word[3:])
	case word[0] == "quorum" && len(word) == 2:
		if _, ok := p.names[word[1]]; !ok && word[1] != none {
			return fmt.Errorf("%q is not defined", word[1])
		}
		p.quorum = word[1]
		p.lines = append(p.lines, "quorum "+word[1])
		return nil
	default:
		return fmt.Errorf("%q with %d words is not a line of a policy", word[0], len(word)-1)
	}
}

func (p *Policy) addLog(vkey string) error {
	name, _, key, err := parseKey(vkey, 1)
	if err != nil {
		return err
	}
	if err := trail.CheckOrigin(name); err != nil {
		return err
	}
	if p.log, err = note.NewVerifier(vkey); err != nil {
		return err
	}
	p.origin, p.key = name, key
	p.lines = append(p.lines, "log "+vkey)
	return nil
}

func (p *Policy) define(name string, n node) error {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("%q is not a name of letters, digits, dot, hyphen and underscore", name)
		}
	}
	if _, ok := p.names[name]; ok || name == none || len(name) > 64 || len(p.names) == maxNames {
		return fmt.Errorf("%q is taken, too long, or one too many", name)
	}
	p.names[name] = n
	return nil
}

func (p *Policy) addWitness(name, vkey string) error {
	signer, hash, key, err := parseKey(vkey, 4)
	if err != nil {
		return err
	}
	if bytes.Equal(key, p.key) || slices.ContainsFunc(p.witness, func(c cosigner) bool { return bytes.Equal(c.key, key) }) {
		return fmt.Errorf("the key of %q counts already", name)
	}
	if err := p.define(name, node{witness: len(p.witness)}); err != nil {
		return err
	}
	p.witness = append(p.witness, cosigner{name, signer, hash, key})
	p.lines = append(p.lines, "witness "+name+" "+vkey)
	return nil
}

func (p *Policy) addGroup(name, threshold string, members []string) error {
	for i, m := range members {
		n, ok := p.names[m]
		if !ok || n.grouped || slices.Contains(members[:i], m) {
			return fmt.Errorf("%q is not defined, or in a group already", m)
		}
	}
	need, err := strconv.Atoi(threshold)
	switch {
	case threshold == "any":
		need = 1
	case threshold == "all":
		need = len(members)
	case err != nil || strconv.Itoa(need) != threshold || need < 1 || need > len(members):
		return fmt.Errorf("%q of %d is not a threshold", threshold, len(members))
	}
	if err := p.define(name, node{witness: -1, need: need, members: slices.Clone(members)}); err != nil {
		return err
	}
	for _, m := range members {
		n := p.names[m]
		n.grouped = true
		p.names[m] = n
	}
	p.lines = append(p.lines, fmt.Sprintf("group %s %d %s", name, need, strings.Join(members, " ")))
	return nil
}

// String returns p as text, in its one form.
func (p *Policy) String() string { return strings.Join(p.lines, "\n") + "\n" }

// met reports whether the witnesses in seen make the quorum of the name.
func (p *Policy) met(name string, seen map[string]bool) bool {
	n := p.names[name]
	if n.witness >= 0 {
		return seen[name]
	}
	have := 0
	for _, m := range n.members {
		if p.met(m, seen) {
			have++
		}
	}
	return have >= n.need
}

// open verifies a checkpoint: the log's signature and those of all witnesses
// whose lines are in it. It returns the head and who has witnessed it.
func (p *Policy) open(signed []byte) (trail.Head, []string, error) {
	verifiers := []note.Verifier{p.log}
	for i := range p.witness {
		verifiers = append(verifiers, &p.witness[i])
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return trail.Head{}, nil, fmt.Errorf("bundle: checkpoint: %w", err)
	}
	if !canonicalNote(n, signed) {
		return trail.Head{}, nil, errors.New("bundle: the checkpoint is not in its one form")
	}
	byLog, seen := false, []string(nil)
	for _, s := range n.Sigs {
		byLog = byLog || s.Name == p.log.Name() && s.Hash == p.log.KeyHash()
		for i := range p.witness {
			if w := &p.witness[i]; s.Name == w.signer && s.Hash == w.hash {
				seen = append(seen, w.name)
			}
		}
	}
	if !byLog {
		return trail.Head{}, nil, errors.New("bundle: the checkpoint is not signed by the log of the policy")
	}
	h, err := trail.ParseHead(n.Text)
	if err != nil {
		return trail.Head{}, nil, err
	}
	slices.Sort(seen)
	return h, seen, nil
}

// canonicalNote reports whether every signature line of signed is one that
// [note.Sign] would write, once.
func canonicalNote(n *note.Note, signed []byte) bool {
	lines := make(map[string]bool)
	for _, s := range slices.Concat(n.Sigs, n.UnverifiedSigs) {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != s.Base64 {
			return false
		}
		lines["— "+s.Name+" "+s.Base64] = true
	}
	rest, ok := strings.CutPrefix(string(signed), n.Text+"\n")
	if !ok {
		return false
	}
	got := strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	for _, line := range got {
		if !lines[line] {
			return false
		}
		delete(lines, line)
	}
	return len(lines) == 0
}

// A cosigner verifies the Ed25519 cosignatures of one witness (C2SP
// tlog-cosignature, cosignature/v1). It implements [note.Verifier].
type cosigner struct {
	name   string // in the policy
	signer string // in its key
	hash   uint32
	key    ed25519.PublicKey
}

// Name implements [note.Verifier].
func (c *cosigner) Name() string { return c.signer }

// KeyHash implements [note.Verifier].
func (c *cosigner) KeyHash() uint32 { return c.hash }

// Verify implements [note.Verifier].
func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(c.key, signed, sig[8:])
}

// parseKey takes a vkey of the algorithm alg apart: name, key id and key.
func parseKey(vkey string, alg byte) (name string, hash uint32, key ed25519.PublicKey, err error) {
	word := strings.SplitN(vkey, "+", 3)
	if len(word) != 3 || word[0] == "" {
		return "", 0, nil, fmt.Errorf("%.100q is not a key: name+id+base64", vkey)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(word[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != alg {
		return "", 0, nil, fmt.Errorf("%.100q is not a key of the algorithm %d", vkey, alg)
	}
	sum := sha256.Sum256(append([]byte(word[0]+"\n"), raw...))
	hash = binary.BigEndian.Uint32(sum[:])
	if fmt.Sprintf("%08x", hash) != word[1] {
		return "", 0, nil, fmt.Errorf("%.100q has the id of another key", vkey)
	}
	return word[0], hash, raw[1:], nil
}
