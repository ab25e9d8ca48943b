package kms

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/store"
)

// A grant token names its grant and proves to come from CreateGrant. It gives no right:
// the grant does, to its grantee, at once.
//
//	"1/" account "/" region "/" key id "/" grant id "/" 24 digits of nonce "/" MAC
//
// in base64, where the MAC is HMAC-SHA-256 under the grant's secret, of all before its "/".
func (g *grant) token() string {
	var nonce [12]byte
	rand.Read(nonce[:])
	text := fmt.Sprintf("1/%s/%s/%s/%s/%x", g.Account, g.Region, g.KeyID, g.ID, nonce)
	return base64.StdEncoding.EncodeToString([]byte(text + "/" + g.mac(text)))
}

func (g *grant) mac(text string) string {
	mac := hmac.New(sha256.New, g.Secret)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// parseGrantToken returns where the record of a token's grant is, what was signed and
// its MAC. Nothing of it is to be believed before the MAC was checked.
func parseGrantToken(token string) (path, text, mac string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return "", "", "", false
	}
	parts := strings.Split(string(raw), "/")
	if len(parts) != 7 || parts[0] != "1" || !isAccount(parts[1]) || !isRegion(parts[2]) || !isKeyID(parts[3]) || !isGrantID(parts[4]) {
		return "", "", "", false
	}
	mac = parts[6]
	return grantPrefix(parts[1], parts[2], parts[3]) + parts[4], strings.TrimSuffix(string(raw), "/"+mac), mac, true
}

// grantOf returns the grant that a token is of.
func (s *Service) grantOf(ctx context.Context, token string) (*grant, error) {
	path, text, mac, ok := parseGrantToken(token)
	if !ok {
		return nil, invalidGrantToken()
	}
	g, err := s.grantAt(ctx, path)
	if errors.Is(err, store.ErrNotFound) || err == nil && !hmac.Equal([]byte(mac), []byte(g.mac(text))) {
		return nil, invalidGrantToken()
	}
	return g, err
}

func (s *Service) grantAt(ctx context.Context, path string) (g *grant, err error) {
	err = s.store.View(ctx, func(tx store.Tx) (err error) {
		g, err = s.grants.Get(tx, path)
		return err
	})
	return g, err
}

// checkGrantTokens refuses tokens that are of no grant. Grants take effect when they are
// made, so a good token changes nothing.
func (s *Service) checkGrantTokens(ctx context.Context, tokens []string) error {
	for _, token := range tokens {
		if _, err := s.grantOf(ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// isRegion accepts what may be a part of a store key: the pattern of Region names.
func isRegion(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-0123456789") == ""
}

func invalidGrantToken() error {
	return &types.InvalidGrantTokenException{Message: aws.String("The grant token is not valid.")}
}

func invalidGrantID(format string, args ...any) error {
	return &types.InvalidGrantIdException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func invalidARN(format string, args ...any) error {
	return &types.InvalidArnException{Message: aws.String(fmt.Sprintf(format, args...))}
}
