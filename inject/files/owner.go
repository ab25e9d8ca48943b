package files

import (
	"fmt"
	"os/user"
	"strconv"
)

// ids are who is to own the file; -1 is whoever writes it. Names are those of this system: a
// sidecar's image has none, and knows numbers alone.
func (f File) ids() (uid, gid int, err error) {
	uid, gid = -1, -1
	if f.Owner != "" {
		uid, err = number(f.Owner, func() (string, error) {
			u, err := user.Lookup(f.Owner)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
		if err != nil {
			return 0, 0, &fieldError{f.Name, "owner", fmt.Errorf("there is no user %q here; give the number of the app's user", f.Owner)}
		}
	}
	if f.Group != "" {
		gid, err = number(f.Group, func() (string, error) {
			g, err := user.LookupGroup(f.Group)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
		if err != nil {
			return 0, 0, &fieldError{f.Name, "group", fmt.Errorf("there is no group %q here; give the number of the app's group", f.Group)}
		}
	}
	return uid, gid, nil
}

// number reads an id, or what lookup finds. The last of 32 bits means "leave it" to the kernel.
func number(text string, lookup func() (string, error)) (int, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		if text, err = lookup(); err != nil {
			return 0, err
		}
		id, err = strconv.ParseUint(text, 10, 32)
	}
	if err == nil && id == 1<<32-1 {
		err = strconv.ErrRange
	}
	return int(id), err
}
