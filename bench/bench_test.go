package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A bench keeps its own section of the page, and leaves the others as they were.
func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	for _, step := range []struct {
		name, text string
		want       page
	}{
		{"edge", "e1\n", page{"edge": "e1\n"}},
		{"postgres", "p1\n", page{"edge": "e1\n", "postgres": "p1\n"}},
		{"edge", "e2\n", page{"edge": "e2\n", "postgres": "p1\n"}},
	} {
		p, err := readPage(path)
		if err != nil {
			t.Fatal(err)
		}
		p[step.name] = step.text
		if err := os.WriteFile(path, []byte(p.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := readPage(path)
		if err != nil || again.String() != step.want.String() || again.String() != p.String() {
			t.Errorf("%v: %v, %v", step, again, err)
		}
	}
	begin, _ := markers("edge")
	if err := os.WriteFile(path, []byte(begin), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := readPage(path); err == nil {
		t.Errorf("a section without an end is %v", p)
	}
}

// The page of the repository is one that the benches wrote.
func TestPageIsWritten(t *testing.T) {
	const path = "../docs/performance.md"
	p, err := readPage(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != p.String() {
		t.Errorf("%s is not as the benches write it", path)
	}
}

// Ratios are of the same round, and their median is what is reported.
func TestReportEdge(t *testing.T) {
	at := func(rate float64, p50 time.Duration) reading {
		return reading{load{rate, 10 * p50}, latencies{p50, 2 * p50, 3 * p50}}
	}
	us := time.Microsecond
	b := scoreboard{
		straight:    {at(1000, 20*us), at(2000, 40*us), at(900, 30*us)},
		peer:        {at(400, 40*us), at(800, 80*us), at(300, 50*us)},
		directPath:  {at(200, 50*us), at(480, 100*us), at(180, 60*us)},
		directPlain: {at(200, 45*us), at(480, 92*us), at(180, 50*us)},
	}
	lanes := []lane{{name: straight}, {name: peer}, {name: directPath, goal: goal{0.55, 1.8}}}
	text := reportEdge(lanes, b, []timing{{"VerifyCached", 850 * time.Nanosecond}}, settings{3, 1})
	for _, want := range []string{
		"| straight |  | 1000 | | | | | | | | | |\n",
		"| nginx proxy_pass |  | 400 | 1.00 |  | 20 | 1.00 |  | 40 | 60 | 200 | 1.00 |\n",
		"| IsoCore, own path |  | 200 | 0.60 | at least 0.55 | 30 | 1.50 | at most 1.8 | 60 | 90 | 300 | 1.50 |\n",
		"| p50 of IsoCore, own path over own path, plain | 8.0 | at most 15 |\n",
		"| VerifyCached | 0.85 | at most 1 |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	delete(b, peer)
	if text := reportEdge(lanes[:1], b, nil, settings{3, 1}); !strings.Contains(text, "Missing on that machine: nginx.") {
		t.Error(text)
	}
}

func TestRequestIsAsMeasured(t *testing.T) {
	if len(asked) != 73 || len(answered) != 230 {
		t.Errorf("%d and %d bytes", len(asked), len(answered))
	}
}

func TestBenchLine(t *testing.T) {
	const said = "goos: linux\nBenchmarkVerifyCached-2   \t 1361212\t       866.5 ns/op\t       578.0 token-bytes\nBenchmarkVerifyFresh-2  10 5 ns/op\n"
	found := benchLine.FindAllStringSubmatch(said, -1)
	if len(found) != 1 || found[0][1] != "VerifyCached" || found[0][2] != "866.5" {
		t.Errorf("%q", found)
	}
}

func TestParseLoad(t *testing.T) {
	const said = "  Latency Distribution\n     50%%  %s\n     99%%    1.02ms\n  28869 requests in 3.93s, 10.60MB read\n%sRequests/sec:  36829.21\nTransfer/sec:      2.70MB\n"
	for half, want := range map[string]time.Duration{"412.00us": 412 * time.Microsecond, "1.50ms": 1500 * time.Microsecond, "0.90s": 900 * time.Millisecond} {
		l, err := parseLoad(fmt.Appendf(nil, said, half, ""))
		if err != nil || l != (load{36829.21, want}) {
			t.Errorf("%s: %v, %v", half, l, err)
		}
	}
	for _, bad := range []string{"  Non-2xx or 3xx responses: 1\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"} {
		if l, err := parseLoad(fmt.Appendf(nil, said, "1ms", bad)); err == nil {
			t.Errorf("%q: %v", bad, l)
		}
	}
}
