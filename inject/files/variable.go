package files

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/malote/malote/inject"
)

// ofEnvironment is in front of the name of a variable of this process.
const ofEnvironment = "env://"

// IsVariable tells whether a file's content is a variable of this process, such as one of the
// secrets in a task definition: it does not change for as long as the process lives.
func (f File) IsVariable() bool { return strings.HasPrefix(f.ValueFrom, ofEnvironment) }

func checkVariable(valueFrom string) error {
	if name := strings.TrimPrefix(valueFrom, ofEnvironment); name == "" || strings.ContainsAny(name, "=\x00") {
		return errors.New("a variable is env://NAME")
	}
	return nil
}

func variable(valueFrom string) (content, error) {
	name := strings.TrimPrefix(valueFrom, ofEnvironment)
	text, set := os.LookupEnv(name)
	if !set {
		return content{}, fmt.Errorf("there is no variable %s in the environment", name)
	}
	return content{ref: inject.Ref{ValueFrom: valueFrom}, value: inject.NewValue(text, valueFrom, "")}, nil
}
