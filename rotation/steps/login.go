package steps

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Login is a secret as AWS's functions for databases write it: a JSON object of which
// members that no function needs are kept as they are.
//
// AWS: Secrets Manager User Guide, "JSON structure of AWS Secrets Manager secrets"
type Login struct {
	Engine, Host, User, Password, Database, Master string

	Port int
	TLS  TLS

	members map[string]json.RawMessage
}

// TLS is what the member ssl says.
type TLS int

const (
	TLSPreferred TLS = iota // absent: TLS unless the server has none, with any certificate
	TLSVerified             // true: TLS with a certificate that the host's authorities vouch for
	TLSNever                // false
)

// ParseLogin reads a secret's value for an engine, which has these names in AWS's JSON and this port.
func ParseLogin(value string, port int, engines ...string) (Login, error) {
	var l Login
	if json.Unmarshal([]byte(value), &l.members) != nil || l.members == nil {
		return l, errors.New("the secret is not a JSON object") // and what it is stays unsaid
	}
	for name, member := range map[string]*string{"engine": &l.Engine, "host": &l.Host, "username": &l.User, "password": &l.Password, "dbname": &l.Database, "masterarn": &l.Master} {
		raw, ok := l.members[name]
		if ok && json.Unmarshal(raw, member) != nil {
			return l, fmt.Errorf("%s in the secret is not a string", name)
		}
	}
	for _, need := range []struct{ name, value string }{{"engine", l.Engine}, {"host", l.Host}, {"username", l.User}, {"password", l.Password}} {
		if need.value == "" {
			return l, fmt.Errorf("the secret has no %s", need.name)
		}
	}
	known := false
	for _, engine := range engines {
		known = known || l.Engine == engine
	}
	if !known {
		return l, fmt.Errorf("engine in the secret is not %s", strings.Join(engines, " or "))
	}
	l.Port = port
	if raw, ok := l.members["port"]; ok {
		n, err := strconv.Atoi(strings.Trim(string(raw), `"`))
		if err != nil || n < 1 || n > 65535 {
			return l, errors.New("port in the secret is not a number from 1 to 65535")
		}
		l.Port = n
	}
	if raw, ok := l.members["ssl"]; ok {
		switch strings.ToLower(strings.Trim(string(raw), `"`)) {
		case "true":
			l.TLS = TLSVerified
		case "false":
			l.TLS = TLSNever
		default:
			return l, errors.New("ssl in the secret is neither true nor false")
		}
	}
	return l, nil
}

// Address is host and port.
func (l Login) Address() string { return net.JoinHostPort(l.Host, strconv.Itoa(l.Port)) }

// with is the value for another user and password.
func (l Login) with(user, password string) (string, error) {
	members := make(map[string]json.RawMessage, len(l.members))
	for name, raw := range l.members {
		members[name] = raw
	}
	for name, text := range map[string]string{"username": user, "password": password} {
		raw, err := json.Marshal(text)
		if err != nil {
			return "", err
		}
		members[name] = raw
	}
	value, err := json.Marshal(members)
	return string(value), err
}
