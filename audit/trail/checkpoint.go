package trail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/tenant"
)

// A Head is the state of one log. As text it is the body of a C2SP
// tlog-checkpoint: origin, size and root, a line each.
type Head struct {
	Origin string // [Origin] of the log
	Size   uint64
	Root   [32]byte
}

// Origin returns the origin of log among the logs under root.
func Origin(root string, log tenant.ID) string { return root + "/t/" + log.String() }

// CheckOrigin reports whether root may be what [Origin] begins with.
func CheckOrigin(root string) error {
	if root == "" || len(root) > 200 || strings.Trim(root, "/") != root {
		return fmt.Errorf("audit: origin %.50q is not a name of 1 to 200 bytes without a slash at its ends", root)
	}
	for i := range len(root) {
		if c := root[i]; c <= ' ' || c > '~' || c == '+' {
			return fmt.Errorf("audit: origin %.50q has a byte %#x", root, c)
		}
	}
	return nil
}

// String returns h as the text that is signed.
func (h Head) String() string {
	return h.Origin + "\n" + strconv.FormatUint(h.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(h.Root[:]) + "\n"
}

// ParseHead is the inverse of String.
func ParseHead(text string) (Head, error) {
	line := strings.Split(text, "\n")
	if len(line) != 4 || line[0] == "" {
		return Head{}, errors.New("audit: a checkpoint is three lines: origin, size, root")
	}
	size, err := strconv.ParseUint(line[1], 10, 64)
	if err != nil || size >= maxNumber {
		return Head{}, fmt.Errorf("audit: %.30q is not the size of a log", line[1])
	}
	root, err := base64.StdEncoding.DecodeString(line[2])
	if err != nil || len(root) != 32 {
		return Head{}, fmt.Errorf("audit: %.60q is not a root", line[2])
	}
	h := Head{line[0], size, [32]byte(root)}
	if h.String() != text {
		return Head{}, errors.New("audit: a checkpoint is not in its one form")
	}
	return h, nil
}

// Sign returns h as a signed note.
func (h Head) Sign(s note.Signer) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: h.String()}, s)
	if err != nil {
		return nil, fmt.Errorf("audit: sign checkpoint: %w", err)
	}
	return b, nil
}

// Claimed returns the head a signed note states, whoever signed it.
func Claimed(signed []byte) (Head, error) {
	text, _, found := strings.Cut(string(signed), "\n\n")
	if !found {
		return Head{}, errors.New("audit: a checkpoint without signatures")
	}
	return ParseHead(text + "\n")
}
