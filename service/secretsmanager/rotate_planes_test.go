package secretsmanager_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/functions"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/bolt"
	"github.com/malote/malote/store/etcd/etcdtest"
	"github.com/malote/malote/store/memory"
)

var cluster etcdtest.Shared

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// planes are control planes on one store, with one rotation function.
type planes struct {
	store store.Store
	root  seal.Seal
	clock *malotetest.Clock
	audit *audit.Memory
	rotator
}

func newPlanes(t *testing.T, st store.Store) *planes {
	p := &planes{store: st, root: seal.NewFile(filepath.Join(t.TempDir(), "root.key")), clock: new(malotetest.Clock), audit: new(audit.Memory)}
	p.value = func() string { return "another value" }
	return p
}

const (
	planeKey    = "AKIAMALOTEPLANEADMIN"
	planeSecret = "only-for-tests/admin/only-for-tests/0002"
)

// start starts one. It is stopped by the function returned.
func (p *planes) start(t *testing.T) (cfg aws.Config, stop func()) {
	t.Helper()
	plane, err := controlplane.Open(t.Context(), controlplane.Config{
		Store: p.store, Seal: p.root, Audit: p.audit, Now: p.clock.Now,
		Bootstrap:         directory.BootstrapConfig{Account: malotetest.Account, AdminAccessKeyID: planeKey, AdminSecretAccessKey: planeSecret},
		RotationFunctions: map[string]functions.Definition{rotateARN: {Builtin: "test", Role: rotateRole}},
		Rotators:          malotetest.Rotators(map[string]rotation.Function{"test": &p.rotator}),
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg = aws.Config{
		Region: malotetest.Region, BaseEndpoint: aws.String("http://malote"), HTTPClient: &http.Client{Transport: gateway.Transport(plane.Handler)},
		Credentials: credentials.NewStaticCredentialsProvider(planeKey, planeSecret, ""),
	}
	return cfg, sync.OnceFunc(func() {
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (p *planes) create(t *testing.T, cfg aws.Config, name string) {
	t.Helper()
	client := secretsmanager.NewFromConfig(cfg)
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("first"), ClientRequestToken: aws.String(firstToken)}); err != nil {
		t.Fatal(err)
	}
}

func rotateIn(t *testing.T, cfg aws.Config, name, token string, immediately bool) {
	t.Helper()
	_, err := secretsmanager.NewFromConfig(cfg).RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &name, ClientRequestToken: &token, RotationLambdaARN: aws.String(rotateARN), RotateImmediately: &immediately,
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func awaitRotated(t *testing.T, cfg aws.Config, name string, since time.Time) *secretsmanager.DescribeSecretOutput {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		d, err := secretsmanager.NewFromConfig(cfg).DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &name})
		if err != nil {
			t.Fatal(err)
		}
		if d.LastRotatedDate != nil && d.LastRotatedDate.After(since) {
			return d
		}
	}
	t.Fatalf("%s is not rotated", name)
	return nil
}

// Several control planes on one store rotate each secret once.
func TestPlanesRotateOnce(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		st := memory.New()
		rotateOnce(t, st, st)
	})
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		server := cluster.Server(t)
		first, second := server.Open(t, "rotate/"), server.Open(t, "rotate/")
		defer first.Close()
		defer second.Close()
		rotateOnce(t, first, second)
	})
}

// rotateOnce has a control plane on each of two ways to one store.
func rotateOnce(t *testing.T, one, other store.Store) {
	p := newPlanes(t, one)
	first, stop := p.start(t)
	defer stop()
	p.store = other
	second, stopSecond := p.start(t)
	defer stopSecond()
	makeRole(t, first)
	const n = 12
	for i := range n {
		p.create(t, first, fmt.Sprint("s", i))
		rotateIn(t, []aws.Config{first, second}[i%2], fmt.Sprint("s", i), nextToken, false)
	}
	for day := range 3 {
		since := p.clock.Now()
		p.clock.Advance(24 * time.Hour)
		for i := range n {
			awaitRotated(t, second, fmt.Sprint("s", i), since)
		}
		finished := 0
		for _, step := range p.steps() {
			if step == rotation.FinishSecret {
				finished++
			}
		}
		if finished != n*(day+1) {
			t.Errorf("day %d: %d rotations, want %d", day, finished, n*(day+1))
		}
	}
	stop()
	stopSecond()
	counts := map[string]int{}
	for _, r := range p.audit.Records() {
		if r.Event {
			counts[r.Name]++
		}
	}
	if counts["RotationStarted"] != 3*n || counts["RotationSucceeded"] != 3*n || len(counts) != 2 {
		t.Errorf("audit: %v", counts)
	}
}

// A control plane that ends in a step leaves a rotation that the next one finishes: under
// the same token, from that step.
func TestRotationOutlivesControlPlane(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "malote.db")
			st, err := bolt.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			p := newPlanes(t, st)
			cfg, stop := p.start(t)
			makeRole(t, cfg)
			p.create(t, cfg, "db")
			reached, ended := make(chan struct{}), make(chan struct{})
			var once sync.Once
			p.fail(func(e rotation.Event) error {
				if e.Step == step {
					once.Do(func() { close(reached); <-ended })
				}
				return nil
			})
			rotateIn(t, cfg, "db", nextToken, true)
			<-reached
			go func() { time.Sleep(50 * time.Millisecond); close(ended) }()
			stop()
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}

			before := len(p.steps())
			if p.store, err = bolt.Open(path); err != nil {
				t.Fatal(err)
			}
			defer p.store.Close()
			cfg, stop = p.start(t)
			defer stop()
			d := awaitRotated(t, cfg, "db", time.Time{})
			if !slices.Contains(d.VersionIdsToStages[nextToken], "AWSCURRENT") {
				t.Errorf("stages %v", d.VersionIdsToStages)
			}
			all := []string{"createSecret", "setSecret", "testSecret", "finishSecret"}
			if got, want := p.steps()[before:], all[slices.Index(all, step):]; !slices.Equal(got, want) {
				t.Errorf("after the restart %v, want %v", got, want)
			}
		})
	}
}

// A control plane that falls silent, as one that is killed does, loses the rotation to
// another when its lease is over, and cannot write of it any more.
func TestSilentControlPlane(t *testing.T) {
	t.Parallel()
	p := newPlanes(t, memory.New())
	first, stop := p.start(t)
	defer stop()
	makeRole(t, first)
	p.create(t, first, "db")
	reached, ended := make(chan struct{}), make(chan struct{})
	defer close(ended)
	var once sync.Once
	p.fail(func(e rotation.Event) error {
		if e.Step == rotation.SetSecret {
			silent := false
			once.Do(func() { silent = true })
			if silent {
				close(reached)
				<-ended
				return fmt.Errorf("too late")
			}
		}
		return nil
	})
	rotateIn(t, first, "db", nextToken, true)
	<-reached
	second, stopSecond := p.start(t)
	defer stopSecond()
	p.clock.Advance(2 * time.Minute)
	d := awaitRotated(t, second, "db", time.Time{})
	if !slices.Contains(d.VersionIdsToStages[nextToken], "AWSCURRENT") {
		t.Errorf("stages %v", d.VersionIdsToStages)
	}
	if got, want := strings.Join(p.steps(), " "), "createSecret setSecret setSecret testSecret finishSecret"; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
}
