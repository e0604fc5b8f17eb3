// Command fuzz runs each fuzz target of the house for a while, one after
// another, and stops at the first that finds something.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", 30*time.Second, "for each target")
	flag.Parse()
	packages, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		fmt.Println("fuzz:", err)
		os.Exit(1)
	}
	for _, p := range strings.Fields(string(packages)) {
		listed, err := exec.Command("go", "test", "-list", "^Fuzz", p).Output()
		if err != nil {
			fmt.Println("fuzz:", p, err)
			os.Exit(1)
		}
		for _, target := range strings.Fields(string(listed)) {
			if !strings.HasPrefix(target, "Fuzz") {
				continue
			}
			fmt.Println("fuzz:", p, target)
			c := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+target+"$", "-fuzzminimizetime", "10x", "-fuzztime", each.String(), p)
			c.Stdout, c.Stderr = os.Stdout, os.Stderr
			if err := c.Run(); err != nil {
				fmt.Println("fuzz:", p, target, err)
				os.Exit(1)
			}
		}
	}
}
