package main

import "syscall"

// lookPath finds a command as runc does, in the working directory that it will
// run in and on the path that it will have: a name with a slash is a file,
// another is sought in each directory of path, where an empty one means the
// working directory. Of a command that is there and may not be executed, the error
// says so, unless a later directory has one that may.
func lookPath(command, path string) (string, error) {
	if command == "" {
		return "", syscall.ENOENT
	}
	for i := range len(command) {
		if command[i] == '/' {
			if err := executable(command); err != nil {
				return "", err
			}
			return command, nil
		}
	}
	var denied error
	for start, i := 0, 0; i <= len(path); i++ {
		if i < len(path) && path[i] != ':' {
			continue
		}
		dir := path[start:i]
		start = i + 1
		if dir == "" {
			dir = "."
		}
		file := dir + "/" + command
		switch err := executable(file); err {
		case nil:
			return file, nil
		case syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR:
		default:
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", syscall.ENOENT
}

func executable(file string) error {
	var info syscall.Stat_t
	if err := syscall.Stat(file, &info); err != nil {
		return err
	}
	if info.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return syscall.EISDIR
	}
	const execute = 1 // X_OK; also refuses a file system mounted noexec
	return syscall.Access(file, execute)
}
