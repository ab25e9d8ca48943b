package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/inject"
)

// Watch looks every interval, give or take a tenth, whether what Write wrote has changed at its
// source, writes it again, and then tells changed. What goes wrong it logs, keeps the files and goes
// on. It returns when ctx ends.
func (s *Set) Watch(ctx context.Context, interval time.Duration, changed func()) {
	for {
		wait := interval - interval/10 + rand.N(interval/5+1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if s.poll(ctx) {
			changed()
		}
	}
}

// poll reports whether a file is another than before.
func (s *Set) poll(ctx context.Context) bool {
	var ready []rendered
	for _, f := range s.Files {
		r, err := s.look(ctx, f)
		switch {
		case errors.Is(err, errSame):
		case ctx.Err() != nil:
			return false
		case err != nil:
			s.Log.Error("the file is kept as it is", "file", f.Name, "err", err)
		default:
			if s.written[f.Name].sum == sha256.Sum256(r.bytes) {
				s.written[f.Name] = written{r.version, s.written[f.Name].sum}
				continue
			}
			ready = append(ready, r)
		}
	}
	if len(ready) == 0 {
		return false
	}
	if err := s.put(ready); err != nil {
		s.Log.Error("the files are kept as they are", "err", err)
		return false
	}
	return true
}

// look gets and renders a file when its source has another version than was written, and else
// returns errSame.
func (s *Set) look(ctx context.Context, f File) (rendered, error) {
	before := s.written[f.Name].version
	sources := &sources{config: s.Config}
	ref, object, err := parseSource(f.ValueFrom, s.Config.Region)
	if err != nil {
		return rendered{}, &fieldError{f.Name, "valueFrom", err}
	}
	var c content
	switch {
	case object != nil:
		bounded, cancel := context.WithTimeout(ctx, objectTimeout)
		defer cancel()
		if c, err = object.get(bounded, s.Config, before); err != nil {
			if !errors.Is(err, errSame) {
				err = &fieldError{f.Name, "valueFrom", err}
			}
			return rendered{}, err
		}
		c = c.named()
	default:
		if ref.Service == inject.SecretsManager && sources.current(ctx, ref) == before {
			return rendered{}, errSame
		}
		contents, err := sources.get(ctx, []File{f})
		if err != nil {
			return rendered{}, err
		}
		if c = contents[0]; c.version == before {
			return rendered{}, errSame
		}
	}
	return render(f, c)
}

// current is the version of a secret that a ref means now, without its value; or "" when
// that is not to be known, because the secret may be read and not described.
func (s *sources) current(ctx context.Context, ref inject.Ref) string {
	if ref.VersionID != "" {
		return ref.VersionID
	}
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	client := secretsmanager.NewFromConfig(s.config, func(o *secretsmanager.Options) { o.Region = ref.Region })
	out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(ref.ID)})
	if err != nil || out.DeletedDate != nil { // reading it says why
		return ""
	}
	stage := ref.VersionStage
	if stage == "" {
		stage = "AWSCURRENT"
	}
	for version, stages := range out.VersionIdsToStages {
		if slices.Contains(stages, stage) {
			return version
		}
	}
	return ""
}
