package iam_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/iam"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store/memory"
)

// between is an audit that does something right after a decision, once.
type between func()

func (b *between) Record(context.Context, audit.Record) error {
	if do := *b; do != nil {
		*b = nil
		do()
	}
	return nil
}

// Who loses a right between the decision and the write does not write: neither when the
// subject changes nor when another takes its name.
func TestRightsLostMeanwhile(t *testing.T) {
	t.Parallel()
	const boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	const own = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/open":"yes","iam:PermissionsBoundary":"` + boundary + `"}}}]}`
	app := aws.String("app")
	type op func(context.Context, *iam.Service) error
	for name, do := range map[string]op{
		"CreateAccessKey": func(ctx context.Context, s *iam.Service) error {
			_, err := s.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: app})
			return err
		},
		"PutUserPolicy": func(ctx context.Context, s *iam.Service) error {
			_, err := s.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: app, PolicyName: app, PolicyDocument: aws.String(own)})
			return err
		},
		"DeleteUser": func(ctx context.Context, s *iam.Service) error {
			_, err := s.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: app})
			return err
		},
		"TagUser": func(ctx context.Context, s *iam.Service) error {
			_, err := s.TagUser(ctx, &awsiam.TagUserInput{UserName: app, Tags: []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}}})
			return err
		},
	} {
		for how, lose := range map[string]op{
			"tag": func(ctx context.Context, s *iam.Service) error {
				_, err := s.UntagUser(ctx, &awsiam.UntagUserInput{UserName: app, TagKeys: []string{"open"}})
				return err
			},
			"boundary": func(ctx context.Context, s *iam.Service) error {
				_, err := s.DeleteUserPermissionsBoundary(ctx, &awsiam.DeleteUserPermissionsBoundaryInput{UserName: app})
				return err
			},
			"another of the name": func(ctx context.Context, s *iam.Service) error {
				if _, err := s.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: app}); err != nil {
					return err
				}
				_, err := s.CreateUser(ctx, &awsiam.CreateUserInput{UserName: app})
				return err
			},
			"nothing": func(context.Context, *iam.Service) error { return nil },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				st := memory.New()
				t.Cleanup(func() { st.Close() })
				dir := directory.New(directory.Config{Store: st})
				t.Cleanup(func() { _ = dir.Close() })
				bob := &directory.User{Entity: directory.Entity{
					Account: malotetest.Account, Path: "/", Name: "bob", ID: directory.NewID("AIDA"), Created: time.Now(), Inline: []directory.Inline{{Name: "own", Document: own}},
				}}
				if err := dir.Update(t.Context(), func(tx *directory.Tx) error { return tx.PutUser(bob) }); err != nil {
					t.Fatal(err)
				}
				as := func(p *caller.Principal) context.Context {
					return caller.With(t.Context(), &caller.Request{Principal: p, Time: time.Now()})
				}
				root := as(&caller.Principal{Type: caller.Account, Account: malotetest.Account, ARN: "arn:aws:iam::" + malotetest.Account + ":root", ID: malotetest.Account})
				plain := iam.New(iam.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir})})
				_, err := plain.CreateUser(root, &awsiam.CreateUserInput{UserName: app, PermissionsBoundary: aws.String(boundary), Tags: []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}}})
				if err != nil {
					t.Fatal(err)
				}
				var lost error
				meanwhile := between(func() { lost = lose(root, plain) })
				s := iam.New(iam.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir, Audit: &meanwhile})})
				err = do(as(&caller.Principal{Type: caller.User, Account: malotetest.Account, ARN: bob.ARN(), ID: bob.ID, UserName: "bob"}), s)
				if lost != nil {
					t.Fatal(lost)
				}
				var denied *authz.Denied
				if got, want := errors.As(err, &denied), how != "nothing"; got != want || err != nil && !got {
					t.Errorf("error = %v, want a denial: %v", err, want)
				}
			})
		}
	}
}

// deciding is an audit that does something right after the decision about an action, once.
type deciding struct {
	action string
	do     func()
}

func (d *deciding) Record(_ context.Context, r audit.Record) error {
	if do := d.do; do != nil && r.Service+":"+r.Name == d.action {
		d.do = nil
		do()
	}
	return nil
}

// The right to pass a role is asked for again when the role has other tags by the time that
// it is put into an instance profile, or is another.
func TestPassingLostMeanwhile(t *testing.T) {
	t.Parallel()
	const own = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AddRoleToInstanceProfile","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/open":"yes"}}}]}`
	for how, lose := range map[string]func(context.Context, *iam.Service) error{
		"tag": func(ctx context.Context, s *iam.Service) error {
			_, err := s.UntagRole(ctx, &awsiam.UntagRoleInput{RoleName: aws.String("app"), TagKeys: []string{"open"}})
			return err
		},
		"another of the name": func(ctx context.Context, s *iam.Service) error {
			if _, err := s.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: aws.String("app")}); err != nil {
				return err
			}
			_, err := s.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("app"), AssumeRolePolicyDocument: aws.String(trustECS)})
			return err
		},
		"nothing": func(context.Context, *iam.Service) error { return nil },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			st := memory.New()
			t.Cleanup(func() { st.Close() })
			dir := directory.New(directory.Config{Store: st})
			t.Cleanup(func() { _ = dir.Close() })
			bob := &directory.User{Entity: directory.Entity{
				Account: malotetest.Account, Path: "/", Name: "bob", ID: directory.NewID("AIDA"), Created: time.Now(), Inline: []directory.Inline{{Name: "own", Document: own}},
			}}
			if err := dir.Update(t.Context(), func(tx *directory.Tx) error { return tx.PutUser(bob) }); err != nil {
				t.Fatal(err)
			}
			as := func(p *caller.Principal) context.Context {
				return caller.With(t.Context(), &caller.Request{Principal: p, Time: time.Now()})
			}
			root := as(&caller.Principal{Type: caller.Account, Account: malotetest.Account, ARN: "arn:aws:iam::" + malotetest.Account + ":root", ID: malotetest.Account})
			plain := iam.New(iam.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir})})
			_, err := plain.CreateRole(root, &awsiam.CreateRoleInput{RoleName: aws.String("app"), AssumeRolePolicyDocument: aws.String(trustECS), Tags: []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := plain.CreateInstanceProfile(root, &awsiam.CreateInstanceProfileInput{InstanceProfileName: aws.String("host")}); err != nil {
				t.Fatal(err)
			}
			var lost error
			s := iam.New(iam.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir, Audit: &deciding{"iam:PassRole", func() { lost = lose(root, plain) }}})})
			_, err = s.AddRoleToInstanceProfile(as(&caller.Principal{Type: caller.User, Account: malotetest.Account, ARN: bob.ARN(), ID: bob.ID, UserName: "bob"}),
				&awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("host"), RoleName: aws.String("app")})
			if lost != nil {
				t.Fatal(lost)
			}
			var denied *authz.Denied
			if got, want := errors.As(err, &denied), how != "nothing"; got != want || err != nil && !got {
				t.Errorf("error = %v, want a denial: %v", err, want)
			}
		})
	}
}

// Service-specific credentials of all users are not the caller's own.
func TestListServiceSpecificCredentialsOfAll(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	bob := awsiam.NewFromConfig(sys.User(t, "bob", malotetest.Allow("arn:aws:iam::"+malotetest.Account+":user/bob", "iam:ListServiceSpecificCredentials")))
	if _, err := bob.ListServiceSpecificCredentials(t.Context(), &awsiam.ListServiceSpecificCredentialsInput{}); err != nil {
		t.Error(err)
	}
	all := &awsiam.ListServiceSpecificCredentialsInput{AllUsers: aws.Bool(true)}
	_, err := bob.ListServiceSpecificCredentials(t.Context(), all)
	wantError(t, err, "AccessDenied", "User: arn:aws:iam::"+malotetest.Account+":user/bob is not authorized to perform: iam:ListServiceSpecificCredentials because no identity-based policy allows the iam:ListServiceSpecificCredentials action")
	if _, err := awsiam.NewFromConfig(sys.Root(t)).ListServiceSpecificCredentials(t.Context(), all); err != nil {
		t.Errorf("root, of all: %v", err)
	}
}
