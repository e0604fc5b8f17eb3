// Package e2e tests IsoCore as its users meet it: the real binary, real stores,
// real clients. Everything is in its tests.
package e2e
