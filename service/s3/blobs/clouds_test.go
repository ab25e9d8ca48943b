package blobs_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// cloud keeps what the two servers below keep. It loses nothing, and makes nothing up: what
// was not committed is not there.
type cloud struct {
	t         *testing.T
	mu        sync.Mutex // guards the rest
	whole     map[string][]byte
	pieces    map[string]map[string][]byte // by name and id, or by upload and ""
	largest   int                          // piece that came
	refusals  int                          // how many requests yet to be answered with 503
	unwelcome []string                     // requests that no client should make
}

func newCloud(t *testing.T) *cloud {
	return &cloud{t: t, whole: map[string][]byte{}, pieces: map[string]map[string][]byte{}}
}

// serve is the server of a cloud. That no request was one that it does not know, it sees to.
func (c *cloud) serve(handle func(http.ResponseWriter, *http.Request)) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refusals > 0 {
			c.refusals--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		handle(w, r)
	}))
	c.t.Cleanup(func() {
		server.Close()
		for _, request := range c.unwelcome {
			c.t.Errorf("%s is no request that is known", request)
		}
	})
	return server
}

func (c *cloud) body(r *http.Request) []byte {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil // a client that went away: nothing of it is kept
	}
	c.largest = max(c.largest, len(b))
	return b
}

// send answers with a range of what is kept.
func send(w http.ResponseWriter, content []byte, asked string) {
	var from, to int
	if n, err := fmt.Sscanf(asked, "bytes=%d-%d", &from, &to); err != nil || n != 2 || from >= len(content) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	to = min(to, len(content)-1)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(content)))
	w.Header().Set("Content-Length", strconv.Itoa(to-from+1))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(content[from : to+1])
}

// azure is the part of Azure's Blob Service that keeping bodies needs.
//
// https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api
func (c *cloud) azure(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/account/bodies/")
	if !ok || !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey account:") || r.Header.Get("X-Ms-Version") == "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h, query := w.Header(), r.URL.Query()
	h.Set("Etag", `"0x1"`)
	h.Set("Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT")
	content, there := c.whole[name]
	switch {
	case r.Method == http.MethodPut && query.Get("comp") == "block":
		if c.pieces[name] == nil {
			c.pieces[name] = map[string][]byte{}
		}
		body := c.body(r)
		if int64(len(body)) == r.ContentLength {
			c.pieces[name][query.Get("blockid")] = body
		}
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && query.Get("comp") == "blocklist":
		var list struct {
			Latest []string
		}
		if err := xml.NewDecoder(r.Body).Decode(&list); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var all []byte
		for _, id := range list.Latest {
			piece, ok := c.pieces[name][id]
			if !ok {
				h.Set("X-Ms-Error-Code", "InvalidBlockList")
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			all = append(all, piece...)
		}
		c.whole[name] = all
		delete(c.pieces, name)
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && r.Header.Get("X-Ms-Blob-Type") == "BlockBlob" && !query.Has("comp"):
		body := c.body(r)
		if int64(len(body)) == r.ContentLength {
			c.whole[name] = body
		}
		w.WriteHeader(http.StatusCreated)
	case !there && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete):
		h.Set("X-Ms-Error-Code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(c.whole, name)
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodHead:
		h.Set("Content-Length", strconv.Itoa(len(content)))
	case r.Method == http.MethodGet:
		send(w, content, r.Header.Get("X-Ms-Range"))
	default:
		c.unwelcome = append(c.unwelcome, r.Method+" "+r.URL.String())
		w.WriteHeader(http.StatusBadRequest)
	}
}

// google is the part of Google Cloud Storage's JSON API that keeping bodies needs.
//
// https://cloud.google.com/storage/docs/json_api/v1
func (c *cloud) google(w http.ResponseWriter, r *http.Request) {
	answer := func(name string) {
		content := c.whole[name]
		var sum [4]byte
		binary.BigEndian.PutUint32(sum[:], crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"name": name, "size": strconv.Itoa(len(content)), "crc32c": base64.StdEncoding.EncodeToString(sum[:])})
	}
	query := r.URL.Query()
	name, object := strings.CutPrefix(r.URL.Path, "/storage/v1/b/bodies/o/")
	content, there := c.whole[name]
	switch {
	case r.URL.Path == "/upload/storage/v1/b/bodies/o" && query.Get("uploadType") == "multipart":
		var meta struct{ Name string }
		_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		parts := multipart.NewReader(r.Body, params["boundary"])
		first, wrong := parts.NextPart()
		if err != nil || wrong != nil || json.NewDecoder(first).Decode(&meta) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		second, err := parts.NextPart()
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body, err := io.ReadAll(second)
		if _, more := parts.NextPart(); err != nil || more != io.EOF {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.largest = max(c.largest, len(body))
		c.whole[meta.Name] = body
		answer(meta.Name)
	case r.URL.Path == "/upload/storage/v1/b/bodies/o" && query.Get("uploadType") == "resumable" && !query.Has("upload_id"):
		var meta struct{ Name string }
		if json.NewDecoder(r.Body).Decode(&meta) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.pieces[meta.Name] = map[string][]byte{}
		w.Header().Set("Location", "http://"+r.Host+"/upload/storage/v1/b/bodies/o?uploadType=resumable&upload_id="+meta.Name)
	case r.URL.Path == "/upload/storage/v1/b/bodies/o" && query.Has("upload_id"):
		id := query.Get("upload_id")
		begin, total, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "/")
		body := c.body(r)
		if int64(len(body)) != r.ContentLength || c.pieces[id] == nil || begin != "*" && !strings.HasPrefix(begin, fmt.Sprintf("%d-", len(c.pieces[id][""]))) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.pieces[id][""] = append(c.pieces[id][""], body...)
		if total == "*" {
			w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(c.pieces[id][""])-1))
			if r.Header.Get("X-Guploader-No-308") == "yes" {
				w.Header().Set("X-Http-Status-Code-Override", "308")
				return
			}
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		if total != strconv.Itoa(len(c.pieces[id][""])) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.whole[id] = c.pieces[id][""]
		delete(c.pieces, id)
		answer(id)
	case object && !there:
		w.WriteHeader(http.StatusNotFound)
	case object && r.Method == http.MethodDelete:
		delete(c.whole, name)
		w.WriteHeader(http.StatusNoContent)
	case object && r.Method == http.MethodGet && query.Get("alt") == "media":
		send(w, content, r.Header.Get("Range"))
	default:
		c.unwelcome = append(c.unwelcome, r.Method+" "+r.URL.String())
		w.WriteHeader(http.StatusBadRequest)
	}
}
