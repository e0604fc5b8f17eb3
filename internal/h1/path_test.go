package h1

import (
	"testing"

	"github.com/isocore/isocore/refusal"
)

var cleanPaths = []string{
	"/", "/a", "/a/", "/a/b.c", "/...", "/.well-known/jwks.json", "/a..b", "/%41", "/a%20b", "/%C3%BC", "/100%25", "/%25zz",
	"/a?b=%2f..//;%00", "/?", "/?a?b", "/~a!$&'()*+,=:@", "/a%3Bb", "/a{b}|^`[]",
}

var uncleanPaths = []string{
	"", "a", "*", "http://a/", "//", "/a//b", "/a//", "/.", "/..", "/a/.", "/a/..", "/./a", "/a/../b", "/a/./b",
	"/%2f", "/a%2Fb", "/%5c", "/%5C", "/%00", "/%2e", "/%2E%2e/", "/a/%2e%2e/b", "/.%2e/", "/a;b", "/a;/b", "/a\\b",
	"/%", "/%2", "/%zz", "/%2g", "/%c0%af", "/%c0%ae", "/%e0%80%af", "/%ff", "/%C3", "/%ed%a0%80", "/%0a", "/%0d", "/%09", "/%7f", "/%1f",
	"/%252e%252e/", "/%252f", "/%255c", "/%2500", "/%250a", "/%25%32%66", "/%25%32f", "/%252%66", "/%25252f", "/%2541", "/a/%25%32%65%25%32%65", "/a#b", "/a b", "/a\x00", "/a\n", "/a\x7f", "/\xc3\xbc", `/a"`, "/<a>",
	"/a?%", "/a?b=%2", "/a?\x00", "/a?b c", "/a?\xff", "/a?b#c",
}

func TestCleanPath(t *testing.T) {
	for _, p := range cleanPaths {
		if err := CleanPath(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range uncleanPaths {
		if err := CleanPath(p); refusal.Of(err) != refusal.Malformed {
			t.Errorf("%q: %v", p, err)
		}
	}
}
