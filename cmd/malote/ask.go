package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// ask gets from a control plane what AWS has no call for, as answer and as it came. The
// request is signed for the service whose part it is.
func ask(ctx context.Context, cfg aws.Config, service, path string, answer any) ([]byte, error) {
	if cfg.BaseEndpoint == nil {
		return nil, &hintError{errors.New("AWS does not tell this"), "set AWS_ENDPOINT_URL to a malote"}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(*cfg.BaseEndpoint, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	if cfg.Credentials == nil {
		return nil, errors.New("no credentials are configured")
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	empty := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, request, hex.EncodeToString(empty[:]), service, cfg.Region, time.Now()); err != nil {
		return nil, err
	}
	var client aws.HTTPClient = http.DefaultClient
	if cfg.HTTPClient != nil {
		client = cfg.HTTPClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		var failure struct {
			Code    string `json:"__type"`
			Message string
		}
		if json.Unmarshal(body, &failure) != nil || failure.Code == "" {
			return nil, fmt.Errorf("%s answered %s: it is no malote that knows %s", *cfg.BaseEndpoint, response.Status, strings.SplitN(path, "?", 2)[0])
		}
		return nil, fmt.Errorf("%s: %s", failure.Code, failure.Message)
	}
	return body, json.Unmarshal(body, answer)
}
