# build   bin/malote and bin/malote-init
# image   the sidecar's, malote/inject, in this machine's Docker
# demo    examples/shop from nothing to cleaned up
# test    every test but those that need aws, boto3 or Terraform
# kills   thirty deployments, in each of which something is killed; make test has nine
# clients the tests with the AWS CLI and Terraform
# clouds  bodies in Azure's emulator; installs node and azurite
# bench   the figures of docs/performance.md
.PHONY: build image demo test kills clients clouds bench lint fuzz clean generate

GOFLAGS_STATIC = CGO_ENABLED=0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

build:
	@mkdir -p bin
	$(GOFLAGS_STATIC) go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/malote ./cmd/malote
	$(GOFLAGS_STATIC) go build -trimpath -ldflags '-s -w' -o bin/malote-init ./cmd/malote-init

image: build
	bin/malote image load

demo: build
	.ci/need docker registry
	go run ./examples/shop; status=$$?; .ci/need stop; exit $$status

test: build
	.ci/need docker etcd registry race postgres mariadb redis
	go test -race -timeout 15m $(TESTFLAGS) ./...; status=$$?; .ci/need stop; exit $$status

kills: build
	.ci/need docker
	go test -count=1 -timeout 15m -v -run TestKilledDuringDeployments ./cmd/malote -kills 30; status=$$?; .ci/need stop; exit $$status

clients: build
	.ci/need docker awscli
	go test -count=1 -timeout 15m -tags clients $(TESTFLAGS) ./test/clients/...; status=$$?; .ci/need stop; exit $$status

clouds:
	.ci/need azurite
	PATH="$(CURDIR)/.run/azurite/node_modules/.bin:$$PATH" go test -count=1 -tags clouds -run TestAzurite $(TESTFLAGS) ./service/s3/blobs

bench: build
	.ci/need docker etcd
	go run ./bench; status=$$?; .ci/need stop; exit $$status

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	@for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p 2>/dev/null | grep ^Fuzz); do \
	    echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
	  done; done

generate:
	@test -n "$(MODELS)" || { echo 'make generate MODELS=folder with the API models'; exit 2; }
	go run ./gateway/model/gen $(MODELS)

clean:
	rm -rf bin
	.ci/need stop
