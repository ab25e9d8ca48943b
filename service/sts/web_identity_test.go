package sts_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/iam/directory"
	service "github.com/malote/malote/service/sts"
	"github.com/malote/malote/service/sts/webidentity/webidentitytest"
	"github.com/malote/malote/store/memory"
)

// federation is a world with an issuer that its account trusts.
type federation struct {
	*world
	*webidentitytest.Issuer
	key      webidentitytest.Key
	provider string // ARN
	anybody  *sts.Client
}

func newFederation(t *testing.T) *federation { return newFederationIn(t, newWorld(t)) }

func newFederationIn(t *testing.T, w *world) *federation {
	f := &federation{world: w, Issuer: webidentitytest.New(t, "/realm"), key: webidentitytest.P256(t, "k1")}
	f.Publish(f.key)
	made, err := f.iam.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: &f.URL, ClientIDList: []string{"sts.amazonaws.com", "web"}, ThumbprintList: []string{f.Thumbprint()},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.provider = *made.OpenIDConnectProviderArn
	config := f.Config()
	config.Credentials = aws.AnonymousCredentials{}
	f.anybody = sts.NewFromConfig(config)
	return f
}

// name is a condition key of the issuer's.
func (f *federation) name(claim string) string { return f.URL[len("https://"):] + ":" + claim }

func (f *federation) trusts(action, condition string) string {
	s := `{"Effect":"Allow","Principal":{"Federated":"` + f.provider + `"},"Action":` + action
	if condition != "" {
		s += `,"Condition":{` + condition + `}`
	}
	return s + "}"
}

func (f *federation) token(more map[string]any) string {
	return webidentitytest.Sign(f.t, f.key, f.Claims(f.Clock.Now(), more))
}

const withWebIdentity = `"sts:AssumeRoleWithWebIdentity"`

func (f *federation) assume(role string, more map[string]any) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return f.anybody.AssumeRoleWithWebIdentity(f.t.Context(), &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("session"), WebIdentityToken: aws.String(f.token(more))})
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	f := newFederation(t)
	ctx := t.Context()
	role := f.role("deploy", f.trusts(withWebIdentity, `"StringLike":{"`+f.name("sub")+`":"repo:example/*"},"StringEquals":{"`+f.name("aud")+`":"sts.amazonaws.com"}`))
	out, err := f.assume(role, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *out.SubjectFromWebIdentityToken != "repo:example/shop" || *out.Audience != "sts.amazonaws.com" || *out.Provider != f.provider || out.PackedPolicySize != nil || out.SourceIdentity != nil {
		t.Errorf("answer = %s, %s, %s, %v, %v", *out.SubjectFromWebIdentityToken, *out.Audience, *out.Provider, out.PackedPolicySize, out.SourceIdentity)
	}
	if left := out.Credentials.Expiration.Sub(f.Clock.Now()); left < 59*time.Minute || left > time.Hour {
		t.Errorf("expires in %v, want 1h", left)
	}
	who, err := sts.NewFromConfig(f.with(out.Credentials)).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Arn != "arn:aws:sts::"+account+":assumed-role/deploy/session" || *who.Arn != *out.AssumedRoleUser.Arn || *who.UserId != *out.AssumedRoleUser.AssumedRoleId {
		t.Errorf("identity = %+v, %v", who, err)
	}

	// The session knows where it comes from.
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListGroups","Resource":"*","Condition":{"StringEquals":{"aws:FederatedProvider":"` + f.provider + `","` + f.name("sub") + `":"repo:example/shop","` + f.name("AUD") + `":"sts.amazonaws.com"},"Null":{"` + f.name("email") + `":"true"}}}]}`
	if _, err := f.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("deploy"), PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
	if _, err := iam.NewFromConfig(f.with(out.Credentials)).ListGroups(ctx, nil); err != nil {
		t.Error(err)
	}

	// A signature means nothing here, right, wrong or presigned.
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role}, "RoleSessionName": {"s1"}, "WebIdentityToken": {f.token(nil)}}
	for _, header := range []string{"", "AWS4-HMAC-SHA256 nonsense", "AWS4-HMAC-SHA256 Credential=AKIANOBODY/20260102/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("0", 64), "Bearer x"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.Endpoint()+"/", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("X-Amz-Security-Token", "an old one")
		if header != "" {
			request.Header.Set("Authorization", header)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("Authorization %q: %d", header, response.StatusCode)
		}
	}
	// That is so for this operation alone.
	_, err = f.anybody.GetCallerIdentity(ctx, nil)
	wantError(t, err, "MissingAuthenticationToken", "Request is missing Authentication Token")

	// As the SDKs' chain does it.
	file := stscreds.NewWebIdentityRoleProvider(f.anybody, role, tokenFile(f.token(nil)))
	if _, err := file.Retrieve(ctx); err != nil {
		t.Error(err)
	}
}

type tokenFile string

func (t tokenFile) GetIdentityToken() ([]byte, error) { return []byte(t), nil }

func TestAssumeRoleWithWebIdentityDecisions(t *testing.T) {
	f := newFederation(t)
	ctx := t.Context()
	other := iam.NewFromConfig(f.Other(t, other))
	elsewhere := makeRole(t, other, "elsewhere", f.trusts(withWebIdentity, ""))
	sub, tag := `"StringEquals":{"`+f.name("sub")+`":"repo:example/shop"}`, "https://aws.amazon.com/tags"
	tags := map[string]any{tag: map[string]any{"principal_tags": map[string]any{"team": []string{"blue"}}, "transitive_tag_keys": []string{"team"}}}
	identity := map[string]any{"https://aws.amazon.com/source_identity": "alice"}
	const no = "Not authorized to perform sts:AssumeRoleWithWebIdentity"

	for _, tt := range []struct {
		name   string
		role   string
		claims map[string]any
		code   string // "" is allowed
		text   string
	}{
		{"its subject", f.role("sub", f.trusts(withWebIdentity, sub)), nil, "", ""},
		{"another subject", f.role("sub2", f.trusts(withWebIdentity, sub)), map[string]any{"sub": "repo:mallory/shop"}, "AccessDenied", no},
		{"a claim that has the subject's name in capitals", f.role("sub3", f.trusts(withWebIdentity, sub)), map[string]any{"sub": "repo:mallory/shop", "SUB": "repo:example/shop"}, "AccessDenied", no},
		{"another audience", f.role("aud", f.trusts(withWebIdentity, `"StringEquals":{"`+f.name("aud")+`":"web"}`)), nil, "AccessDenied", no},
		{"issued to that audience", f.role("azp", f.trusts(withWebIdentity, `"StringEquals":{"`+f.name("aud")+`":"web","`+f.name("oaud")+`":"api"}`)), map[string]any{"aud": "api", "azp": "web"}, "", ""},
		{"how it was authenticated", f.role("amr", f.trusts(withWebIdentity, `"ForAnyValue:StringEquals":{"`+f.name("amr")+`":"otp"}`)), map[string]any{"amr": []string{"pwd", "otp"}}, "", ""},
		{"how it was not authenticated", f.role("amr2", f.trusts(withWebIdentity, `"ForAnyValue:StringEquals":{"`+f.name("amr")+`":"otp"}`)), map[string]any{"amr": []string{"pwd"}}, "AccessDenied", no},
		{"another claim", f.role("ref", f.trusts(withWebIdentity, `"StringEquals":{"`+f.name("ref_protected")+`":"true"}`)), map[string]any{"ref_protected": true}, "", ""},
		{"the session's name", f.role("name", f.trusts(withWebIdentity, `"StringEquals":{"sts:RoleSessionName":"session"}`)), nil, "", ""},
		{"denied", f.role("denied", f.trusts(withWebIdentity, ""), strings.Replace(f.trusts(withWebIdentity, sub), "Allow", "Deny", 1)), nil, "AccessDenied", no},
		{"another action", f.role("action", f.trusts(`"sts:AssumeRole"`, "")), nil, "AccessDenied", no},
		{"trusts everybody of AWS", f.role("everybody", trust("*", withWebIdentity)), nil, "AccessDenied", no},
		{"trusts the account", f.role("account", trust(root, withWebIdentity)), nil, "AccessDenied", no},
		{"trusts another provider", f.role("other", strings.Replace(f.trusts(withWebIdentity, ""), "/realm", "/realm/", 1)), nil, "AccessDenied", no},
		{"no role", "arn:aws:iam::" + account + ":role/none", nil, "AccessDenied", no},
		{"no role's ARN", "arn:aws:iam::" + account + ":user/none", nil, "ValidationError", "arn:aws:iam::" + account + ":user/none is invalid"},
		{"an account without the provider", elsewhere, nil, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + f.URL},
		{"no account", "arn:aws:iam::111111111111:role/none", nil, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + f.URL},
		{"the issuer without TLS", f.role("http", f.trusts(withWebIdentity, "")), map[string]any{"iss": "http" + f.URL[len("https"):]}, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for http" + f.URL[len("https"):]},
		{"a wrong audience", f.role("wrong", f.trusts(withWebIdentity, "")), map[string]any{"aud": "others"}, "InvalidIdentityToken", "Incorrect token audience"},
		{"tags that may not be", f.role("tags", f.trusts(withWebIdentity, "")), tags, "AccessDenied", "Not authorized to perform sts:TagSession"},
		{"tags that may be", f.role("tags2", f.trusts(`["sts:AssumeRoleWithWebIdentity","sts:TagSession"]`, `"StringEquals":{"aws:RequestTag/team":"blue"},"ForAllValues:StringEquals":{"sts:TransitiveTagKeys":["team"]}`)), tags, "", ""},
		{"a source identity that may not be", f.role("source", f.trusts(withWebIdentity, "")), identity, "AccessDenied", "Not authorized to perform sts:SetSourceIdentity"},
		{"a source identity that may be", f.role("source2", f.trusts(`["sts:AssumeRoleWithWebIdentity","sts:SetSourceIdentity"]`, `"StringEquals":{"sts:SourceIdentity":"alice"}`)), identity, "", ""},
		{"tags that cannot be", f.role("tags3", f.trusts(`"sts:*"`, "")), map[string]any{tag: "x"}, "IDPRejectedClaim", "The claim https://aws.amazon.com/tags must be an object with principal_tags."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := f.assume(tt.role, tt.claims)
			if tt.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if tt.claims != nil && tt.claims["https://aws.amazon.com/source_identity"] != nil && *out.SourceIdentity != "alice" {
					t.Errorf("source identity = %v", out.SourceIdentity)
				}
				return
			}
			wantError(t, err, tt.code, tt.text)
		})
	}

	// Tags of the token are the session's, and the transitive ones stick.
	tagged := f.role("tagged", f.trusts(`["sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity"]`, ""))
	if _, err := f.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("tagged"), PolicyName: aws.String("p"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ListGroups","sts:*"],"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"blue","aws:SourceIdentity":"alice"}}}]}`)}); err != nil {
		t.Fatal(err)
	}
	tags["https://aws.amazon.com/source_identity"] = "alice"
	out, err := f.assume(tagged, tags)
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToInt32(out.PackedPolicySize) < 1 {
		t.Errorf("packed size = %v, want some percent", out.PackedPolicySize)
	}
	if _, err := iam.NewFromConfig(f.with(out.Credentials)).ListGroups(ctx, nil); err != nil {
		t.Error(err)
	}
	chain := sts.NewFromConfig(f.with(out.Credentials))
	_, err = chain.AssumeRole(ctx, input(f.role("next", trust(root, `["sts:AssumeRole","sts:SetSourceIdentity"]`))))
	wantError(t, err, "AccessDenied", denied(*out.AssumedRoleUser.Arn, "sts:TagSession", "arn:aws:iam::"+account+":role/path/next", "role trust policy"))
	next, err := chain.AssumeRole(ctx, input(f.role("next2", trust(root, `"sts:*"`))))
	if err != nil || *next.SourceIdentity != "alice" {
		t.Errorf("chained: %v", err)
	}
}

func TestAssumeRoleWithWebIdentityRequests(t *testing.T) {
	f := newFederation(t)
	ctx := t.Context()
	role := f.role("deploy", f.trusts(withWebIdentity, ""))
	for _, tt := range []struct {
		name          string
		change        func(*sts.AssumeRoleWithWebIdentityInput)
		code, message string
	}{
		{"no token", func(in *sts.AssumeRoleWithWebIdentityInput) { in.WebIdentityToken = aws.String("hello") }, "InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"},
		{"a provider's name", func(in *sts.AssumeRoleWithWebIdentityInput) { in.ProviderId = aws.String("www.amazon.com") }, "ValidationError", "ProviderId is for OAuth 2.0 access tokens, which are not supported. Leave it out for OpenID Connect ID tokens."},
		{"too long", func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"session name", func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleSessionName = aws.String("a b") }, "ValidationError", `1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{"session policy", func(in *sts.AssumeRoleWithWebIdentityInput) { in.Policy = aws.String("{") }, "MalformedPolicyDocument", "This policy contains invalid Json"},
		{"by another's key", func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.WebIdentityToken = aws.String(webidentitytest.Sign(t, webidentitytest.P256(t, "k1"), f.Claims(f.Clock.Now(), nil)))
		}, "InvalidIdentityToken", "The signature of the ID Token is not its issuer's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("session"), WebIdentityToken: aws.String(f.token(nil))}
			tt.change(in)
			_, err := f.anybody.AssumeRoleWithWebIdentity(ctx, in)
			wantError(t, err, tt.code, tt.message)
		})
	}
	// A session policy narrows.
	in := &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("session"), WebIdentityToken: aws.String(f.token(nil)), Policy: aws.String(malotetest.Allow("*", "iam:ListUsers"))}
	out, err := f.anybody.AssumeRoleWithWebIdentity(ctx, in)
	if err != nil || aws.ToInt32(out.PackedPolicySize) < 1 {
		t.Fatal(out, err)
	}
	_, err = iam.NewFromConfig(f.with(out.Credentials)).ListGroups(ctx, nil)
	if err == nil || !strings.Contains(err.Error(), "no session policy allows") {
		t.Errorf("beyond the session policy: %v", err)
	}

	token := f.token(nil)
	f.Clock.Advance(70 * time.Minute)
	_, err = f.anybody.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("session"), WebIdentityToken: &token})
	if err == nil || !strings.Contains(err.Error(), "ExpiredTokenException: Token expired: current date/time ") {
		t.Errorf("an hour later: %v", err)
	}
	f.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	f.Clock.Advance(2 * time.Hour)
	_, err = f.assume(role, nil)
	wantError(t, err, "IDPCommunicationError", "The identity provider that was asked to verify the incoming identity token could not be reached. Retry the request a limited number of times.")

	// A provider that is gone, or that lost what vouched for it, lets in nobody.
	f.Answer = nil
	if _, err := f.iam.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: &f.provider, ThumbprintList: []string{strings.Repeat("a", 40)}}); err != nil {
		t.Fatal(err)
	}
	_, err = f.assume(role, nil)
	wantError(t, err, "InvalidIdentityToken", "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint")
	if _, err := f.iam.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &f.provider}); err != nil {
		t.Fatal(err)
	}
	_, err = f.assume(role, nil)
	wantError(t, err, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for "+f.URL)
}

// The audit says who came with a token, let in or not, and never the token.
func TestWebIdentityInTheAudit(t *testing.T) {
	t.Parallel()
	st := memory.New()
	defer st.Close()
	dir := directory.New(directory.Config{Store: st})
	defer dir.Close()
	records := new(audit.Memory)
	tokens := service.New(service.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir, Audit: records})})
	issuer, key := webidentitytest.New(t, ""), webidentitytest.P256(t, "k")
	issuer.Publish(key)
	provider := &directory.OIDCProvider{Account: account, URL: issuer.URL[len("https://"):], ClientIDs: []string{"web"}, Thumbprints: []string{issuer.Thumbprint()}}
	role := &directory.Role{
		Entity: directory.Entity{Account: account, Path: "/", Name: "r", ID: directory.NewID("AROA")}, MaxSession: 3600,
		Trust: directory.Trust{Document: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + provider.ARN() + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"` + provider.URL + `:sub":"good"}}}]}`},
	}
	if err := dir.Update(t.Context(), func(tx *directory.Tx) error {
		if err := tx.PutOIDCProvider(provider); err != nil {
			return err
		}
		return tx.PutRole(role)
	}); err != nil {
		t.Fatal(err)
	}
	ctx := caller.With(t.Context(), &caller.Request{Principal: &caller.Principal{Type: caller.Anonymous}, Operation: "AssumeRoleWithWebIdentity", Time: time.Now()})
	for _, subject := range []string{"good", "bad"} {
		token := webidentitytest.Sign(t, key, issuer.Claims(time.Now(), map[string]any{"sub": subject, "aud": "web"}))
		_, err := tokens.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String(role.ARN()), RoleSessionName: aws.String("s1"), WebIdentityToken: &token})
		if (err == nil) != (subject == "good") {
			t.Errorf("%s: %v", subject, err)
		}
	}
	got := records.Records()
	if len(got) != 2 {
		t.Fatalf("%d records, want 2", len(got))
	}
	for i, subject := range []string{"good", "bad"} {
		r := got[i]
		if p := r.Principal; p.Type != caller.WebIdentityUser || p.ID != provider.ARN()+":web:"+subject || p.UserName != subject || p.Provider != provider.ARN() {
			t.Errorf("principal = %+v", p)
		}
		if r.Name != "AssumeRoleWithWebIdentity" || r.Account != account || r.Resource != role.ARN() || (r.ErrorCode == "") != (subject == "good") {
			t.Errorf("record = %s %s %s %q", r.Name, r.Account, r.Resource, r.ErrorCode)
		}
	}
}
