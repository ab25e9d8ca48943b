package iam

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

const (
	maxOIDCProviders = 100
	maxClientIDs     = 100
	maxThumbprints   = 5
)

// permitOIDC asks whether the caller may do what access says to a provider, whether or not
// it exists.
func (s *Service) permitOIDC(ctx context.Context, arn string, access *authz.Access) (owner, url string, err error) {
	owner, url, ok := directory.ParseOIDCProviderARN(arn)
	if !ok {
		return "", "", errARN()
	}
	access.Resource = arn
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		o, err := tx.OIDCProvider(owner, url)
		if err == nil {
			access.Tags = directory.TagMap(o.Tags)
		} else if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err == nil {
		err = s.authorize(ctx, access)
	}
	return owner, url, err
}

func findOIDC(tx *directory.Tx, owner, url string) (*directory.OIDCProvider, error) {
	o, err := tx.OIDCProvider(owner, url)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchEntity("OpenIDConnect Provider not found for arn %s", directory.OIDCProviderARN(owner, url))
	}
	return o, err
}

func (s *Service) readOIDC(ctx context.Context, arn, action string, fn func(*directory.OIDCProvider) error) error {
	owner, url, err := s.permitOIDC(ctx, arn, &authz.Access{Action: action})
	if err != nil {
		return err
	}
	return s.dir.View(ctx, func(tx *directory.Tx) error {
		o, err := findOIDC(tx, owner, url)
		if err != nil {
			return err
		}
		return fn(o)
	})
}

// writeOIDC runs fn with the provider in a transaction that may change records. When its
// tags are others by then, it is decided again whether the caller may.
func (s *Service) writeOIDC(ctx context.Context, arn string, access *authz.Access, fn func(*directory.Tx, *directory.OIDCProvider) error) error {
	for range attempts {
		asked := *access
		owner, url, err := s.permitOIDC(ctx, arn, &asked)
		if err != nil {
			return err
		}
		err = s.dir.Update(ctx, func(tx *directory.Tx) error {
			o, err := findOIDC(tx, owner, url)
			if err != nil {
				return err
			}
			if !maps.Equal(asked.Tags, directory.TagMap(o.Tags)) {
				return errRights
			}
			return fn(tx, o)
		})
		if !errors.Is(err, errRights) {
			return err
		}
	}
	return concurrentModification()
}

func (s *Service) changeOIDC(ctx context.Context, arn string, access *authz.Access, fn func(*directory.OIDCProvider) error) error {
	return s.writeOIDC(ctx, arn, access, func(tx *directory.Tx, o *directory.OIDCProvider) error {
		if err := fn(o); err != nil {
			return err
		}
		return tx.PutOIDCProvider(o)
	})
}

// checkIssuer refuses what no issuer of tokens is called: https, a host with a dot, and
// perhaps a port and a path.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	rest, https := strings.CutPrefix(issuer, "https://")
	if err != nil || !https || u.Host == "" || u.User != nil || strings.ContainsAny(rest, "?#*@\\ ") || !plain(rest) {
		return errIssuer()
	}
	host := u.Host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errIssuer()
		}
		host = h
	}
	// Its condition keys begin with it: "aws:" and "sts:" are others'.
	if !strings.Contains(host, ".") || strings.ContainsAny(host, ":[]") {
		return errIssuer()
	}
	return nil
}

// plain reports that all of s is printed ASCII.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func errIssuer() error { return validationError("Invalid Open ID Connect Provider URL") }

// newClientIDs adds client ids to those that are there; one that is, stays once.
func newClientIDs(ids, more []string) ([]string, error) {
	for _, id := range more {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) > maxClientIDs {
		return nil, limitExceeded("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
	}
	return ids, nil
}

func checkThumbprints(thumbprints []string) error {
	if len(thumbprints) > maxThumbprints {
		return invalidInput("Thumbprint list must contain fewer than %d entries.", maxThumbprints)
	}
	for _, t := range thumbprints {
		if _, err := hex.DecodeString(t); err != nil {
			return invalidInput("Thumbprint %s is not the SHA-1 hash of a certificate in 40 hexadecimal digits.", t)
		}
	}
	return nil
}

// tagOIDC is merge in the words that IAM has for these.
func tagOIDC(tags []directory.Tag, in []types.Tag) ([]directory.Tag, error) {
	more, err := newTags(in, exactly)
	if err != nil {
		return nil, err
	}
	tags, err = merge(tags, more, "", exactly)
	if err != nil {
		return nil, limitExceeded("The number of tags has reached the maximum limit.")
	}
	return tags, nil
}

// CreateOpenIDConnectProvider has the account trust an issuer of tokens. Nobody asks the
// issuer yet: without thumbprints its certificate has to be one that the system trusts.
//
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html
func (s *Service) CreateOpenIDConnectProvider(ctx context.Context, in *iam.CreateOpenIDConnectProviderInput) (*iam.CreateOpenIDConnectProviderOutput, error) {
	o := &directory.OIDCProvider{
		Account: account(ctx), URL: strings.TrimPrefix(*in.Url, "https://"), Created: s.now().UTC(), Thumbprints: in.ThumbprintList,
	}
	for _, action := range []string{"iam:CreateOpenIDConnectProvider", "iam:TagOpenIDConnectProvider"} {
		if action == "iam:TagOpenIDConnectProvider" && len(in.Tags) == 0 {
			break
		}
		if err := s.authorize(ctx, &authz.Access{Action: action, Resource: o.ARN(), RequestTags: requestTags(in.Tags)}); err != nil {
			return nil, err
		}
	}
	if err := checkIssuer(*in.Url); err != nil {
		return nil, err
	}
	if err := checkThumbprints(in.ThumbprintList); err != nil {
		return nil, err
	}
	var err error
	if o.ClientIDs, err = newClientIDs(nil, in.ClientIDList); err != nil {
		return nil, err
	}
	if o.Tags, err = tagOIDC(nil, in.Tags); err != nil {
		return nil, err
	}
	err = s.dir.Update(ctx, func(tx *directory.Tx) error {
		others := 0
		for other, err := range tx.OIDCProviders(o.Account) {
			if err != nil {
				return err
			}
			if other.URL == o.URL {
				return alreadyExists("Provider with url %s already exists.", *in.Url)
			}
			others++
		}
		if others >= maxOIDCProviders {
			return limitExceeded("Cannot exceed quota for OpenIdConnectProvidersPerAccount: %d", maxOIDCProviders)
		}
		return tx.PutOIDCProvider(o)
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: aws.String(o.ARN()), Tags: sdkTags(o.Tags)}, nil
}

func (s *Service) GetOpenIDConnectProvider(ctx context.Context, in *iam.GetOpenIDConnectProviderInput) (*iam.GetOpenIDConnectProviderOutput, error) {
	var out *iam.GetOpenIDConnectProviderOutput
	err := s.readOIDC(ctx, *in.OpenIDConnectProviderArn, "iam:GetOpenIDConnectProvider", func(o *directory.OIDCProvider) error {
		out = &iam.GetOpenIDConnectProviderOutput{
			ClientIDList: convert(o.ClientIDs, identity), ThumbprintList: convert(o.Thumbprints, identity), Tags: convert(o.Tags, sdkTag),
			CreateDate: aws.Time(o.Created), Url: aws.String(o.URL),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) ListOpenIDConnectProviders(ctx context.Context, _ *iam.ListOpenIDConnectProvidersInput) (*iam.ListOpenIDConnectProvidersOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:ListOpenIDConnectProviders"}); err != nil {
		return nil, err
	}
	var out *iam.ListOpenIDConnectProvidersOutput
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		out = &iam.ListOpenIDConnectProvidersOutput{OpenIDConnectProviderList: []types.OpenIDConnectProviderListEntry{}}
		for o, err := range tx.OIDCProviders(account(ctx)) {
			if err != nil {
				return err
			}
			out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, types.OpenIDConnectProviderListEntry{Arn: aws.String(o.ARN())})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteOpenIDConnectProvider lets in nobody new. Sessions go on, and trust policies that
// name the provider stay as they are.
func (s *Service) DeleteOpenIDConnectProvider(ctx context.Context, in *iam.DeleteOpenIDConnectProviderInput) (*iam.DeleteOpenIDConnectProviderOutput, error) {
	arn := *in.OpenIDConnectProviderArn
	err := s.writeOIDC(ctx, arn, &authz.Access{Action: "iam:DeleteOpenIDConnectProvider"}, func(tx *directory.Tx, o *directory.OIDCProvider) error {
		return tx.DeleteOIDCProvider(o)
	})
	if isNoSuchEntity(err) {
		return nil, noSuchEntity("OpenId connect Provider %s cannot be found.", arn)
	}
	if err != nil {
		return nil, err
	}
	return &iam.DeleteOpenIDConnectProviderOutput{}, nil
}

// AddClientIDToOpenIDConnectProvider adds an audience; one that is there already is no error.
func (s *Service) AddClientIDToOpenIDConnectProvider(ctx context.Context, in *iam.AddClientIDToOpenIDConnectProviderInput) (*iam.AddClientIDToOpenIDConnectProviderOutput, error) {
	access := &authz.Access{Action: "iam:AddClientIDToOpenIDConnectProvider"}
	err := s.changeOIDC(ctx, *in.OpenIDConnectProviderArn, access, func(o *directory.OIDCProvider) (err error) {
		o.ClientIDs, err = newClientIDs(o.ClientIDs, []string{*in.ClientID})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iam.AddClientIDToOpenIDConnectProviderOutput{}, nil
}

// RemoveClientIDFromOpenIDConnectProvider removes an audience; one that is not there is no error.
func (s *Service) RemoveClientIDFromOpenIDConnectProvider(ctx context.Context, in *iam.RemoveClientIDFromOpenIDConnectProviderInput) (*iam.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	access := &authz.Access{Action: "iam:RemoveClientIDFromOpenIDConnectProvider"}
	err := s.changeOIDC(ctx, *in.OpenIDConnectProviderArn, access, func(o *directory.OIDCProvider) error {
		o.ClientIDs = slices.DeleteFunc(o.ClientIDs, func(id string) bool { return id == *in.ClientID })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.RemoveClientIDFromOpenIDConnectProviderOutput{}, nil
}

// UpdateOpenIDConnectProviderThumbprint replaces the list, perhaps with an empty one.
func (s *Service) UpdateOpenIDConnectProviderThumbprint(ctx context.Context, in *iam.UpdateOpenIDConnectProviderThumbprintInput) (*iam.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	access := &authz.Access{Action: "iam:UpdateOpenIDConnectProviderThumbprint"}
	err := s.changeOIDC(ctx, *in.OpenIDConnectProviderArn, access, func(o *directory.OIDCProvider) error {
		o.Thumbprints = in.ThumbprintList
		return checkThumbprints(in.ThumbprintList)
	})
	if err != nil {
		return nil, err
	}
	return &iam.UpdateOpenIDConnectProviderThumbprintOutput{}, nil
}

func (s *Service) TagOpenIDConnectProvider(ctx context.Context, in *iam.TagOpenIDConnectProviderInput) (*iam.TagOpenIDConnectProviderOutput, error) {
	access := &authz.Access{Action: "iam:TagOpenIDConnectProvider", RequestTags: requestTags(in.Tags)}
	err := s.changeOIDC(ctx, *in.OpenIDConnectProviderArn, access, func(o *directory.OIDCProvider) (err error) {
		o.Tags, err = tagOIDC(o.Tags, in.Tags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iam.TagOpenIDConnectProviderOutput{}, nil
}

func (s *Service) UntagOpenIDConnectProvider(ctx context.Context, in *iam.UntagOpenIDConnectProviderInput) (*iam.UntagOpenIDConnectProviderOutput, error) {
	access := &authz.Access{Action: "iam:UntagOpenIDConnectProvider", TagKeys: in.TagKeys}
	err := s.changeOIDC(ctx, *in.OpenIDConnectProviderArn, access, func(o *directory.OIDCProvider) error {
		o.Tags = without(o.Tags, in.TagKeys, exactly)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.UntagOpenIDConnectProviderOutput{}, nil
}

func (s *Service) ListOpenIDConnectProviderTags(ctx context.Context, in *iam.ListOpenIDConnectProviderTagsInput) (*iam.ListOpenIDConnectProviderTagsOutput, error) {
	out := new(iam.ListOpenIDConnectProviderTagsOutput)
	err := s.readOIDC(ctx, *in.OpenIDConnectProviderArn, "iam:ListOpenIDConnectProviderTags", func(o *directory.OIDCProvider) (err error) {
		out.Tags, out.Marker, err = tagPage(o.Tags, in.Marker, in.MaxItems)
		out.IsTruncated = out.Marker != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
