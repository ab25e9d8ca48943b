// Package metadata is what a container finds at 169.254.170.2: the credentials of
// its task's role, what its task is, and AWS's API as malote serves it.
//
// It promises: credentials go to containers of the task they belong to and to no
// other, since both the source address and an unguessable id must fit; each time
// they are given is logged; and documents hold no environment and no value. It
// does not obtain credentials (they are pushed to it, see acs) nor attach containers to
// its network (see engine).
//
// # The network
//
// One internal Docker bridge, 169.254.170.0/23, whose gateway is 169.254.170.2: an
// address of the host, where this package listens. A container is attached to it
// besides its own network and reaches the listener, and nothing else there: no
// other container, no way out. Containers in the host's network reach the same
// address. Of a container of that kind the address says only that it is on this host,
// so for it the id alone decides: tasks whose credentials matter belong in another mode.
//
// # What is served
//
//	:80    /v2/credentials/ID, /v1/credentials?id=ID      credentials of the task's role
//	       /v4/ID, /v3/ID                                 the container
//	       /v4/ID/task, /v4/ID/taskWithTags, /v3/ID/task  its task
//	       /v4/ID/stats, /v4/ID/task/stats, and /v3/…     Docker's statistics
//	:4510  AWS's API, when Config.API is set, with the Host header as it came,
//	       since the signature covers it
//
// A second engine of the same host finds these ports taken. It listens at two others of
// the same address and tells its containers so, by AWS_CONTAINER_CREDENTIALS_FULL_URI,
// which SDKs accept for 169.254.170.2 with any port.
//
// The last engine of a host to end without a task takes the network away. Who still uses
// it is told by a lock on /run/malote-network-NAME.lock.
//
// Ids are derived from a key and the task's ARN, so that they are the same after a
// restart, which containers do not notice.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
package metadata
