package pgwire

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/isocore/isocore/secret"
)

// SCRAMSHA256 is the name of the one mechanism a SCRAM speaks.
const SCRAMSHA256 = "SCRAM-SHA-256"

// Bounds of what a store may ask: fewer iterations than RFC 7677 allows would
// make the proof worth guessing at, and many more would be our time.
const (
	minIterations = 4096
	maxIterations = 200_000
	maxSalt       = 256
	maxServer     = 4096 // bytes in a message of the store
)

// A SCRAM is one login as a client, by RFC 5802 and 7677, without channel
// binding: the connection is a unix socket or TLS whose other end is verified.
// Call First, Continue and Finish, in this order and once each.
type SCRAM struct {
	user     string
	password secret.Text
	nonce    string

	bare      string // client-first-message-bare
	signature []byte // what the store must show in the end
}

// NewSCRAM begins a login as user, which may be empty: PostgreSQL takes the
// name from the StartupMessage. A password of other than printable ASCII is
// refused, because SASLprep would rewrite it.
func NewSCRAM(user string, password secret.Text) (*SCRAM, error) {
	if password.IsZero() {
		return nil, errors.New("pgwire: SCRAM without a password")
	}
	for _, c := range []byte(password.Reveal()) {
		if c < ' ' || c > '~' {
			return nil, errors.New("pgwire: SCRAM passwords are printable ASCII here")
		}
	}
	return newSCRAM(user, password, rand.Text()), nil
}

func newSCRAM(user string, password secret.Text, nonce string) *SCRAM {
	return &SCRAM{user: user, password: password, nonce: nonce}
}

// First returns the data of the SASLInitialResponse.
func (s *SCRAM) First() []byte {
	user := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.user)
	s.bare = "n=" + user + ",r=" + s.nonce
	return []byte("n,," + s.bare)
}

// Continue returns the data of the SASLResponse to data, which an
// AuthSASLContinue carried.
func (s *SCRAM) Continue(data []byte) ([]byte, error) {
	if s.bare == "" || s.signature != nil {
		return nil, errors.New("pgwire: SCRAM out of order")
	}
	nonce, salt, iterations, err := s.parseServerFirst(data)
	if err != nil {
		return nil, fmt.Errorf("pgwire: SCRAM: %w", err)
	}
	salted, err := pbkdf2.Key(sha256.New, s.password.Reveal(), salt, iterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("pgwire: SCRAM: %w", err)
	}
	final := "c=biws,r=" + nonce
	auth := s.bare + "," + string(data) + "," + final
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	proof := mac(stored[:], auth)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	s.signature = mac(mac(salted, "Server Key"), auth)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// Finish checks data, which an AuthSASLFinal carried: nil means the other end
// knows the password too. Without it an AuthOK proves nothing.
func (s *SCRAM) Finish(data []byte) error {
	if s.signature == nil {
		return errors.New("pgwire: SCRAM out of order")
	}
	if reason, found := bytes.CutPrefix(data, []byte("e=")); found {
		return fmt.Errorf("pgwire: SCRAM: the store says %.100q", reason)
	}
	text, found := strings.CutPrefix(string(data), "v=")
	if !found || len(data) > maxServer {
		return errors.New("pgwire: SCRAM: the last message is not one")
	}
	got, err := decode64(text)
	if err != nil || !hmac.Equal(got, s.signature) {
		return errors.New("pgwire: SCRAM: the store does not know the password")
	}
	s.signature = nil
	s.bare = ""
	return nil
}

// parseServerFirst reads "r=nonce,s=salt,i=iterations" and nothing else.
func (s *SCRAM) parseServerFirst(data []byte) (nonce string, salt []byte, iterations int, err error) {
	if len(data) > maxServer {
		return "", nil, 0, errors.New("the first message is too long")
	}
	parts := strings.Split(string(data), ",")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "r=") || !strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return "", nil, 0, errors.New("the first message is not one")
	}
	nonce = parts[0][2:]
	if !strings.HasPrefix(nonce, s.nonce) || len(nonce) == len(s.nonce) {
		return "", nil, 0, errors.New("the nonce is not an extension of ours")
	}
	salt, err = decode64(parts[1][2:])
	if err != nil || len(salt) == 0 || len(salt) > maxSalt {
		return "", nil, 0, errors.New("the salt is not one")
	}
	iterations, err = strconv.Atoi(parts[2][2:])
	if err != nil || iterations < minIterations || iterations > maxIterations {
		return "", nil, 0, fmt.Errorf("%.20q iterations; %d to %d are accepted", parts[2][2:], minIterations, maxIterations)
	}
	return nonce, salt, iterations, nil
}

// decode64 is strict: the library skips newlines.
func decode64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("a newline")
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
