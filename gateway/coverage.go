package gateway

import (
	"fmt"

	"github.com/malote/malote/gateway/model"
)

// ServiceCoverage is which of a service's operations on AWS are done here.
type ServiceCoverage struct {
	Service    string // signing name
	Version    string // of the API
	Operations []OperationCoverage
}

// OperationCoverage is one operation of AWS's.
type OperationCoverage struct {
	Name        string
	Implemented bool
}

// Implemented counts the operations that are done.
func (c ServiceCoverage) Implemented() int {
	n := 0
	for _, op := range c.Operations {
		if op.Implemented {
			n++
		}
	}
	return n
}

// Coverage compares the methods of services with AWS's API descriptions. What is wrong with
// one of them, it finds without a request.
func Coverage(services ...Service) ([]ServiceCoverage, error) {
	var all []ServiceCoverage
	for _, s := range services {
		m, ok := model.For(s.Name)
		if !ok {
			return nil, fmt.Errorf("gateway: %s is no service of AWS's that is known here", s.Name)
		}
		done, err := operations(s, m)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		c := ServiceCoverage{Service: s.Name, Version: m.Version}
		for _, name := range m.Operations() {
			c.Operations = append(c.Operations, OperationCoverage{Name: name, Implemented: done[name] != nil})
		}
		all = append(all, c)
	}
	return all, nil
}
