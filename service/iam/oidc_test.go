package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

func TestOpenIDConnectProviders(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	thumbprint := strings.Repeat("aB", 20)

	made := ok(admin.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://ci.example.com/Realm"), ClientIDList: []string{"sts.amazonaws.com", "sts.amazonaws.com"}, ThumbprintList: []string{thumbprint},
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	}))(t)
	arn := accountARN + "oidc-provider/ci.example.com/Realm"
	if *made.OpenIDConnectProviderArn != arn || len(made.Tags) != 1 {
		t.Errorf("made = %s with %d tags, want %s", *made.OpenIDConnectProviderArn, len(made.Tags), arn)
	}
	get := func() *iam.GetOpenIDConnectProviderOutput {
		t.Helper()
		return ok(admin.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn}))(t)
	}
	got := get()
	if *got.Url != "ci.example.com/Realm" || !slices.Equal(got.ClientIDList, []string{"sts.amazonaws.com"}) || !slices.Equal(got.ThumbprintList, []string{thumbprint}) || got.CreateDate == nil || *got.Tags[0].Value != "a" {
		t.Errorf("got = %+v", got)
	}

	_, err := admin.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://ci.example.com/Realm")})
	wantError(t, err, "EntityAlreadyExists", "Provider with url https://ci.example.com/Realm already exists.")
	// A URL is what its issuer says, with its case and its slash.
	for _, url := range []string{"https://ci.example.com/realm", "https://ci.example.com/Realm/", "https://ci.example.com:8443"} {
		ok(admin.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: &url}))(t)
	}
	list := ok(admin.ListOpenIDConnectProviders(ctx, nil))(t).OpenIDConnectProviderList
	if len(list) != 4 || *list[0].Arn != arn {
		t.Errorf("list = %d, first %s", len(list), *list[0].Arn)
	}

	if summary := ok(admin.GetAccountSummary(ctx, nil))(t).SummaryMap; summary["Providers"] != 4 {
		t.Errorf("the account's summary counts %d providers, want 4", summary["Providers"])
	}

	// Client ids are a set.
	for range 2 {
		ok(admin.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, ClientID: aws.String("web")}))(t)
	}
	for range 2 {
		ok(admin.RemoveClientIDFromOpenIDConnectProvider(ctx, &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, ClientID: aws.String("sts.amazonaws.com")}))(t)
	}
	ok(admin.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: &arn, ThumbprintList: []string{}}))(t)
	if got := get(); !slices.Equal(got.ClientIDList, []string{"web"}) || len(got.ThumbprintList) != 0 {
		t.Errorf("client ids = %v, thumbprints = %v", got.ClientIDList, got.ThumbprintList)
	}

	var tags []types.Tag
	for i := range 50 {
		tags = append(tags, types.Tag{Key: aws.String(fmt.Sprintf("t%02d", i)), Value: aws.String("v")})
	}
	_, err = admin.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, Tags: tags})
	wantError(t, err, "LimitExceeded", "The number of tags has reached the maximum limit.")
	ok(admin.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, Tags: tags[:2]}))(t)
	ok(admin.UntagOpenIDConnectProvider(ctx, &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, TagKeys: []string{"T00", "t00"}}))(t)
	page := ok(admin.ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: &arn, MaxItems: aws.Int32(1)}))(t)
	if !page.IsTruncated || len(page.Tags) != 1 || *page.Tags[0].Key != "team" {
		t.Errorf("first page = %+v", page)
	}
	page = ok(admin.ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: &arn, Marker: page.Marker}))(t)
	if page.IsTruncated || len(page.Tags) != 1 || *page.Tags[0].Key != "t01" {
		t.Errorf("second page = %+v", page)
	}

	// Who may is a matter of the provider's ARN and tags.
	bob := iam.NewFromConfig(sys.User(t, "bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"`+accountARN+`oidc-provider/*","Condition":{"StringEquals":{"aws:ResourceTag/team":"a"}}}]}`))
	if _, err := bob.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn}); err != nil {
		t.Error(err)
	}
	untagged := arn[:len(arn)-len("Realm")] + "realm"
	for _, of := range []string{untagged, accountARN + "oidc-provider/none.example.com"} {
		_, err = bob.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &of})
		wantError(t, err, "AccessDenied", denial("bob", "iam:DeleteOpenIDConnectProvider", of))
	}
	// Nor are they another account's to read, whatever its own policies allow.
	_, err = iam.NewFromConfig(sys.Other(t, "999999999999")).GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	wantError(t, err, "AccessDenied", "User: arn:aws:iam::999999999999:user/admin is not authorized to perform: iam:GetOpenIDConnectProvider on resource: "+arn+" because no resource-based policy allows the iam:GetOpenIDConnectProvider action")

	ok(admin.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn}))(t)
	_, err = admin.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	wantError(t, err, "NoSuchEntity", "OpenId connect Provider "+arn+" cannot be found.")
	_, err = admin.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	wantError(t, err, "NoSuchEntity", "OpenIDConnect Provider not found for arn "+arn)
}

func TestOpenIDConnectProviderRequests(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := iam.NewFromConfig(sys.Config())
	const noURL = "Invalid Open ID Connect Provider URL"
	clients := make([]string, 101)
	for i := range clients {
		clients[i] = fmt.Sprint(i)
	}
	a := strings.Repeat("a", 40)
	for _, tt := range []struct {
		name          string
		in            iam.CreateOpenIDConnectProviderInput
		code, message string
	}{
		{"no scheme", iam.CreateOpenIDConnectProviderInput{Url: aws.String("example.org")}, "ValidationError", noURL},
		{"http", iam.CreateOpenIDConnectProviderInput{Url: aws.String("http://example.org")}, "ValidationError", noURL},
		{"no host", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https:///path")}, "ValidationError", noURL},
		{"no dot", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://aws")}, "ValidationError", noURL},
		{"an address of IPv6", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://[::ffff:1.2.3.4]")}, "ValidationError", noURL},
		{"a query", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://example.org/?a=b")}, "ValidationError", noURL},
		{"a fragment", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://example.org/#a")}, "ValidationError", noURL},
		{"a user", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://user@example.org")}, "ValidationError", noURL},
		{"a port too high", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://example.org:65536")}, "ValidationError", noURL},
		{"letters of elsewhere", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://exämple.org")}, "ValidationError", noURL},
		{"thumbprints", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://example.org"), ThumbprintList: []string{a, a, a, a, a, a}}, "InvalidInput", "Thumbprint list must contain fewer than 5 entries."},
		{"no thumbprint", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://example.org"), ThumbprintList: []string{"z" + a[1:]}}, "InvalidInput", "Thumbprint z" + a[1:] + " is not the SHA-1 hash of a certificate in 40 hexadecimal digits."},
		{"client ids", iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://example.org"), ClientIDList: clients}, "LimitExceeded", "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100"},
		{"lengths", iam.CreateOpenIDConnectProviderInput{Url: aws.String(strings.Repeat("b", 256)), ThumbprintList: []string{strings.Repeat("b", 41)}, ClientIDList: []string{strings.Repeat("b", 256)}}, "ValidationError",
			""}, // three sentences in no order of ours
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := admin.CreateOpenIDConnectProvider(t.Context(), &tt.in)
			if tt.message == "" {
				if err == nil || !strings.Contains(err.Error(), "3 validation errors detected") {
					t.Errorf("error = %v, want three", err)
				}
				return
			}
			wantError(t, err, tt.code, tt.message)
		})
	}
	for i := range 100 {
		ok(admin.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String(fmt.Sprintf("https://i%d.example.org", i))}))(t)
	}
	_, err := admin.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://example.org")})
	wantError(t, err, "LimitExceeded", "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100")
}
