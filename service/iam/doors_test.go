package iam_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/iam"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store/memory"
)

// Every operation refuses whoever has no rights, whatever it is asked about: no door was
// forgotten.
func TestEveryOperationIsGuarded(t *testing.T) {
	t.Parallel()
	st := memory.New()
	defer st.Close()
	dir := directory.New(directory.Config{Store: st})
	defer dir.Close()
	made := &directory.User{Entity: directory.Entity{Account: malotetest.Account, Path: "/", Name: "bob", ID: directory.NewID("AIDA"), Created: time.Now()}}
	if err := dir.Update(t.Context(), func(tx *directory.Tx) error { return tx.PutUser(made) }); err != nil {
		t.Fatal(err)
	}
	service := reflect.ValueOf(iam.New(iam.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir})}))
	ctx := caller.With(t.Context(), &caller.Request{
		Principal: &caller.Principal{Type: caller.User, Account: malotetest.Account, ARN: made.ARN(), ID: made.ID, UserName: "bob"}, Time: time.Now(),
	})
	if service.NumMethod() < 114 {
		t.Errorf("%d operations", service.NumMethod())
	}
	for i := range service.NumMethod() {
		name := service.Type().Method(i).Name
		for _, subject := range []string{"bob", "nobody"} {
			in := reflect.New(service.Method(i).Type().In(1).Elem())
			fill(in.Elem(), subject)
			out := service.Method(i).Call([]reflect.Value{reflect.ValueOf(ctx), in})
			err, _ := out[1].Interface().(error)
			denied := new(authz.Denied)
			if !errors.As(err, &denied) {
				t.Errorf("%s(%s) = %v, want a denial", name, subject, err)
			} else if denied.Access.Action != "iam:"+name {
				t.Errorf("%s(%s) asked for %s", name, subject, denied.Access.Action)
			}
		}
	}
}

// fill gives every string of an input a value.
func fill(in reflect.Value, name string) {
	for i := range in.NumField() {
		field, kind := in.Field(i), in.Type().Field(i)
		if !kind.IsExported() || field.Type() != reflect.TypeFor[*string]() {
			continue
		}
		value := name
		if strings.HasSuffix(kind.Name, "Arn") || kind.Name == "PermissionsBoundary" {
			value = "arn:aws:iam::" + malotetest.Account + ":policy/" + name
		}
		if kind.Name == "OpenIDConnectProviderArn" {
			value = "arn:aws:iam::" + malotetest.Account + ":oidc-provider/" + name + ".example.com"
		}
		field.Set(reflect.ValueOf(&value))
	}
}
