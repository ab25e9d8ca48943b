package main

import (
	"fmt"
	"os"

	"github.com/malote/malote/rotation/functions"
)

// rotationFunctions reads the file that --rotation-functions names. Without one a control
// plane that serves has no functions, and says so of each rotation that is due.
func rotationFunctions(path string) (map[string]functions.Definition, error) {
	if path == "" {
		return map[string]functions.Definition{}, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--rotation-functions: %w", err)
	}
	all, err := functions.ParseFile(data)
	if err != nil {
		return nil, &hintError{fmt.Errorf("--rotation-functions %s: %w", path, err), "docs/rotation.md describes the file"}
	}
	return all, nil
}
