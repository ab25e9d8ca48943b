package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// splunk ships to an HTTP Event Collector, with the events that Docker's own driver would make.
//
// https://docs.docker.com/engine/logging/drivers/splunk/
type splunk struct {
	url, token, host          string
	source, sourcetype, index string
	format                    string
	showTag, verifies         bool
	gzip                      bool
	level                     int
	client                    *http.Client
}

func newSplunk(o *options, host string) (*splunk, error) {
	s := &splunk{
		token: o.text("splunk-token", ""), source: o.text("splunk-source", ""), sourcetype: o.text("splunk-sourcetype", ""),
		index: o.text("splunk-index", ""), format: o.text("splunk-format", "inline"), verifies: o.bool("splunk-verify-connection", true),
		gzip: o.bool("splunk-gzip", false), level: o.int("splunk-gzip-level", -1, -1, 9), host: host, showTag: o.text("tag", "{{.ID}}") != "",
	}
	address := o.text("splunk-url", "")
	config := &tls.Config{ServerName: o.text("splunk-caname", ""), InsecureSkipVerify: o.bool("splunk-insecureskipverify", false)}
	authorities := o.text("splunk-capath", "")
	if err := o.finish(); err != nil {
		return nil, err
	}
	switch {
	case address == "":
		return nil, errors.New("log driver splunk: splunk-url is expected")
	case s.token == "":
		return nil, errors.New("log driver splunk: splunk-token is expected")
	case strings.ContainsAny(s.token, "\r\n\x00"):
		return nil, errors.New("log driver splunk: splunk-token has a line end in it; store the token without one")
	case s.format != "inline" && s.format != "json" && s.format != "raw":
		return nil, fmt.Errorf("log driver splunk: unknown splunk-format %q; it is inline, json or raw", s.format)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("log driver splunk: expected format scheme://dns_name_or_ip:port for splunk-url")
	}
	s.url = u.Scheme + "://" + u.Host + "/services/collector/event/1.0"
	if authorities != "" {
		pem, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("log driver splunk: reading splunk-capath: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("log driver splunk: %s has no certificate in it", authorities)
		}
	}
	if s.host == "" {
		if s.host, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	s.client = &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		// A token is for the one it was given for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func (s *splunk) close() { s.client.CloseIdleConnections() }

func (s *splunk) verify(ctx context.Context) error {
	if !s.verifies {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodOptions, s.url, nil)
	if err != nil {
		return err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("verifying the connection: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("verifying the connection: failed to verify connection - %s", answer.Status)
	}
	return nil
}

func (s *splunk) ship(ctx context.Context, entries []entry) error {
	var body bytes.Buffer
	var w io.Writer = &body
	var zip *gzip.Writer
	if s.gzip {
		var err error
		if zip, err = gzip.NewWriterLevel(&body, s.level); err != nil {
			return err
		}
		w = zip
	}
	empty := true
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, e := range entries {
		event := s.event(e)
		if event == nil {
			continue
		}
		empty = false
		if err := encoder.Encode(event); err != nil {
			return rejected{err}
		}
	}
	if empty {
		return nil
	}
	if zip != nil {
		if err := zip.Close(); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, &body)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Splunk "+s.token)
	request.Header.Set("Content-Type", "application/json")
	if s.gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	// Splunk says {"text":"Invalid token","code":4}. Only that is repeated: a body
	// may be anything, the events included.
	var reason struct {
		Text string `json:"text"`
		Code int    `json:"code"`
	}
	err = fmt.Errorf("splunk answered %s", answer.Status)
	if json.Unmarshal(said, &reason) == nil && reason.Code != 0 {
		err = fmt.Errorf("splunk answered %s (code %d)", answer.Status, reason.Code)
	}
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		// 7 is an index that is wrong, 10 and 11 a channel: for a person to put right there.
		if reason.Code != 7 && reason.Code != 10 && reason.Code != 11 {
			return rejected{err}
		}
	}
	return err
}

type splunkEvent struct {
	Event      any    `json:"event"`
	Time       string `json:"time"`
	Host       string `json:"host"`
	Source     string `json:"source,omitempty"`
	SourceType string `json:"sourcetype,omitempty"`
	Index      string `json:"index,omitempty"`
}

type splunkLine struct {
	Line   any               `json:"line"`
	Source string            `json:"source"`
	Tag    string            `json:"tag,omitempty"`
	Attrs  map[string]string `json:"attrs,omitempty"`
}

// event is nil for what is not sent: HEC refuses a raw event that is blank.
func (s *splunk) event(e entry) *splunkEvent {
	out := &splunkEvent{Time: fmt.Sprintf("%d.%06d", e.Time.Unix(), e.Time.Nanosecond()/1000), Host: s.host, Source: s.source, SourceType: s.sourcetype, Index: s.index}
	tag := e.Tag
	if !s.showTag {
		tag = ""
	}
	if s.format == "raw" {
		if strings.TrimSpace(e.Line) == "" {
			return nil
		}
		var prefix strings.Builder
		if tag != "" {
			prefix.WriteString(tag + " ")
		}
		for _, name := range slices.Sorted(maps.Keys(e.Attrs)) {
			prefix.WriteString(name + "=" + e.Attrs[name] + " ")
		}
		out.Event = prefix.String() + e.Line
		return out
	}
	line := splunkLine{Line: e.Line, Source: e.Source, Tag: tag, Attrs: e.Attrs}
	if s.format == "json" && json.Valid([]byte(e.Line)) {
		line.Line = json.RawMessage(e.Line)
	}
	out.Event = line
	return out
}
