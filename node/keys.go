package node

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/secret"
)

// nodeKeys are the keys of the node itself.
type nodeKeys struct {
	kek        secret.Text
	mint       ed25519.PrivateKey
	checkpoint ed25519.PrivateKey
}

// readKeys reads the key files of dir: 32 bytes each, for nobody but us.
func readKeys(dir string) (nodeKeys, error) {
	var k nodeKeys
	var errs []error
	read := func(name string) []byte {
		path := filepath.Join(dir, name+".key")
		b, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("node: %w", err))
			return nil
		}
		info, err := os.Stat(path)
		if err == nil && (info.Mode().Perm()&0o077 != 0 || len(b) != ed25519.SeedSize) {
			err = fmt.Errorf("node: %s: want %d bytes and mode 0600, have %d and %v", path, ed25519.SeedSize, len(b), info.Mode().Perm())
		}
		errs = append(errs, err)
		return b
	}
	k.kek = secret.New(string(read("kek")))
	mint, checkpoint := read("mint"), read("checkpoint")
	if err := errors.Join(errs...); err != nil {
		return nodeKeys{}, err
	}
	k.mint, k.checkpoint = ed25519.NewKeyFromSeed(mint), ed25519.NewKeyFromSeed(checkpoint)
	return k, nil
}

// noteKey returns an Ed25519 key as the note format has it, to sign and to
// verify with (golang.org/x/mod/sumdb/note).
func noteKey(name string, key ed25519.PrivateKey) (note.Signer, string, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, "", errors.New("node: no public key")
	}
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return nil, "", err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, "", err
	}
	var hash [4]byte
	hash[0], hash[1], hash[2], hash[3] = byte(v.KeyHash()>>24), byte(v.KeyHash()>>16), byte(v.KeyHash()>>8), byte(v.KeyHash())
	const algEd25519 = "\x01"
	skey := "PRIVATE+KEY+" + name + "+" + hex.EncodeToString(hash[:]) + "+" + b64(algEd25519+string(key.Seed()))
	signer, err := note.NewSigner(skey)
	return signer, vkey, err
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
