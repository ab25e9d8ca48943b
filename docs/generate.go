// Package docs holds the documents that are made from the program itself, so that they
// cannot be stale: `go generate ./docs` writes them, and a test holds them to it.
package docs

//go:generate go test -run TestCoverage -update .
