// Package lategc keeps the garbage collector waiting while the program's packages are
// initialised. They take seven megabytes of which nearly all will live, and the collector
// would look through them twice.
//
// Go initialises packages in the order of their import paths, each as soon as all that it
// imports has been: what imports as little as this comes before half of them. It is for the
// program, which calls Begin.
package lategc

import (
	"os"
	"runtime/debug"
)

// told is what the environment says, or Go's default. Until Begin there may be 16 MiB.
var told = debug.SetGCPercent(400)

// Begin has the collector run from now on when garbage is percent of what lives. Where GOGC
// is set, that decides.
func Begin(percent int) {
	if os.Getenv("GOGC") != "" {
		percent = told
	}
	debug.SetGCPercent(percent)
}
