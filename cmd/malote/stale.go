package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/malote/malote/acs"
)

type staleCommand struct {
	Cluster      string `help:"The cluster, by name or ARN." placeholder:"CLUSTER"`
	Service      string `help:"Tasks of this service alone." placeholder:"SERVICE"`
	All          bool   `help:"With what is current, too."`
	JSON         bool   `name:"json" help:"Print JSON, one object for each task."`
	Fail         bool   `help:"Exit with status 1 when a task holds what is no longer current."`
	connectFlags `embed:""`
}

func (staleCommand) Help() string {
	return `Which running tasks hold a version of a secret or parameter that they would not be given
today. Versions are ids, no value is asked for. A version that the task definition names
itself is always current. Who may ListTasks and DescribeTasks may ask.

    malote stale --cluster shop
    malote stale --service web --fail || aws ecs update-service --service web --force-new-deployment`
}

func (c *staleCommand) Run(ctx context.Context, p *program) error {
	cfg, done, err := c.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	query := url.Values{"cluster": {cmp.Or(c.Cluster, "default")}}
	if c.Service != "" {
		query.Set("serviceName", c.Service)
	}
	var all acs.Holdings
	if _, err := ask(ctx, cfg, "ecs", "/holdings?"+query.Encode(), &all); err != nil {
		return err
	}
	stale := 0
	var shown []acs.TaskHoldings
	for _, t := range all.Tasks {
		some := acs.TaskHoldings{TaskARN: t.TaskARN, Group: t.Group}
		for _, s := range t.Secrets {
			if s.Stale {
				stale++
			}
			if s.Stale || c.All {
				some.Secrets = append(some.Secrets, s)
			}
		}
		if len(some.Secrets) > 0 {
			shown = append(shown, some)
		}
	}
	if c.JSON {
		err = p.objects(len(shown), func(i int) any { return shown[i] })
	} else if len(shown) > 0 {
		err = p.table(func(w io.Writer) {
			fmt.Fprintln(w, "TASK\tGROUP\tCONTAINER\tNAME\tSECRET\tHELD\tCURRENT")
			for _, t := range shown {
				for _, s := range t.Secrets {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.TaskARN[strings.LastIndexByte(t.TaskARN, '/')+1:], t.Group, s.Container, s.Name, s.ARN, s.Version, cmp.Or(s.Current, "none"))
				}
			}
		})
	}
	if err == nil && stale > 0 && c.Fail {
		return exitStatus(1)
	}
	return err
}
