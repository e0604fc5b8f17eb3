// Package local is the embedded default: the state directory of one
// installation, and the stores that `isocore up` and the tests start in it.
//
// Stores listen on unix sockets in a folder of mode 0700, never on TCP, with
// random passwords: loopback is not a boundary. Started by root they run as an
// unprivileged account, and they stop when the process that started them does.
package local
