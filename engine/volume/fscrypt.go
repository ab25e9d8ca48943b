package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keyID is how the kernel calls a key that it was given: a hash of it.
type keyID [unix.FSCRYPT_KEY_IDENTIFIER_SIZE]byte

func (id keyID) specifier() unix.FscryptKeySpecifier {
	s := unix.FscryptKeySpecifier{Type: unix.FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER}
	copy(s.U[:], id[:])
	return s
}

// ioctl is of a directory, which must not be on another file system by way of a link.
func ioctl(dir string, request uintptr, arg unsafe.Pointer) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// encrypt gives the kernel a key, and makes the directory of files that are encrypted under it.
func encrypt(mount string, key []byte) error {
	id, err := addKey(mount, key)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("an encrypted volume on disk needs a kernel with CONFIG_FS_ENCRYPTION, 5.4 or later: %w", err)
	} else if err != nil {
		return fmt.Errorf("giving the kernel a disk's key: %w", err)
	}
	dir := filepath.Join(mount, filesDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	policy := unix.FscryptPolicyV2{
		Version: unix.FSCRYPT_POLICY_V2, Contents_encryption_mode: unix.FSCRYPT_MODE_AES_256_XTS,
		Filenames_encryption_mode: unix.FSCRYPT_MODE_AES_256_CTS, Flags: unix.FSCRYPT_POLICY_FLAGS_PAD_32, Master_key_identifier: id,
	}
	if err := ioctl(dir, unix.FS_IOC_SET_ENCRYPTION_POLICY, unsafe.Pointer(&policy)); err != nil {
		return fmt.Errorf("encrypting %s: %w", dir, err)
	}
	// Had it been done by halves, the files would be readable in the image.
	if got, err := policyOf(dir); err != nil || got != id {
		return fmt.Errorf("encrypting %s: its policy is not what was set: %w", dir, err)
	}
	return nil
}

func addKey(mount string, key []byte) (id keyID, err error) {
	if len(key) != KeySize {
		return id, fmt.Errorf("the key has %d bytes, want %d", len(key), KeySize)
	}
	var arg struct {
		unix.FscryptAddKeyArg
		raw [KeySize]byte
	}
	defer clear(arg.raw[:])
	arg.Key_spec.Type = unix.FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER
	arg.Raw_size = KeySize
	copy(arg.raw[:], key)
	if err := ioctl(mount, unix.FS_IOC_ADD_ENCRYPTION_KEY, unsafe.Pointer(&arg)); err != nil {
		return id, err
	}
	copy(id[:], arg.Key_spec.U[:])
	return id, nil
}

// policyOf returns which key a directory is encrypted under. One that is not encrypted is
// ENODATA.
func policyOf(dir string) (id keyID, err error) {
	var arg unix.FscryptGetPolicyExArg
	arg.Size = uint64(len(arg.Policy))
	if err := ioctl(dir, unix.FS_IOC_GET_ENCRYPTION_POLICY_EX, unsafe.Pointer(&arg)); err != nil {
		return id, err
	}
	policy := (*unix.FscryptPolicyV2)(unsafe.Pointer(&arg.Policy))
	if policy.Version != unix.FSCRYPT_POLICY_V2 {
		return id, fmt.Errorf("%s: an encryption policy of version %d", dir, policy.Version)
	}
	return policy.Master_key_identifier, nil
}

func keyStatus(mount string, id keyID) (uint32, error) {
	arg := unix.FscryptGetKeyStatusArg{Key_spec: id.specifier()}
	err := ioctl(mount, unix.FS_IOC_GET_ENCRYPTION_KEY_STATUS, unsafe.Pointer(&arg))
	return arg.Status, err
}

func requireKey(mount string, id keyID) error {
	status, err := keyStatus(mount, id)
	if err == nil && status != unix.FSCRYPT_KEY_STATUS_PRESENT {
		err = errors.New("its key has left the kernel")
	}
	return err
}

var errBusy = errors.New("files are open")

// forget takes a disk's key from the kernel, with what it worked out from it. That files
// are open keeps the key of those; it is an error, after a while.
func (m *Manager) forget(mount string) error {
	id, err := policyOf(filepath.Join(mount, filesDir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a key that was never used goes with the mount
	} else if err != nil {
		return err
	}
	err = m.retry(errBusy, func() error {
		arg := unix.FscryptRemoveKeyArg{Key_spec: id.specifier()}
		err := ioctl(mount, unix.FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS, unsafe.Pointer(&arg))
		if err != nil && !errors.Is(err, unix.ENOKEY) {
			return err
		}
		switch status, err := keyStatus(mount, id); {
		case err != nil:
			return err
		case status != unix.FSCRYPT_KEY_STATUS_ABSENT:
			return errBusy
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("taking the key of the disk at %s from the kernel: %w", mount, err)
	}
	return nil
}
