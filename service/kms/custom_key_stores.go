package kms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
)

// There are no custom key stores: neither a CloudHSM cluster nor an external key store can
// be reached. Their operations answer as those of an account that has none.

// CreateCustomKeyStore finds neither the cluster nor the proxy that the store would be of.
func (s *Service) CreateCustomKeyStore(ctx context.Context, in *kms.CreateCustomKeyStoreInput) (*kms.CreateCustomKeyStoreOutput, error) {
	if err := s.authorizeKeyStores(ctx, "kms:CreateCustomKeyStore"); err != nil {
		return nil, err
	}
	if in.CustomKeyStoreType != types.CustomKeyStoreTypeExternalKeyStore {
		return nil, &types.CloudHsmClusterNotFoundException{Message: aws.String("There are no CloudHSM clusters here: custom key stores are not supported.")}
	}
	if in.XksProxyConnectivity == types.XksProxyConnectivityTypeVpcEndpointService {
		return nil, &types.XksProxyVpcEndpointServiceNotFoundException{Message: aws.String("There are no VPC endpoint services here: custom key stores are not supported.")}
	}
	return nil, &types.XksProxyUriUnreachableException{Message: aws.String("No external key store proxy is reached from here: custom key stores are not supported.")}
}

// DescribeCustomKeyStores lists none.
func (s *Service) DescribeCustomKeyStores(ctx context.Context, in *kms.DescribeCustomKeyStoresInput) (*kms.DescribeCustomKeyStoresOutput, error) {
	if err := s.authorizeKeyStores(ctx, "kms:DescribeCustomKeyStores"); err != nil {
		return nil, err
	}
	switch {
	case in.CustomKeyStoreId != nil && in.CustomKeyStoreName != nil:
		return nil, validation("You cannot specify both CustomKeyStoreId and CustomKeyStoreName.")
	case in.CustomKeyStoreId != nil:
		return nil, noKeyStore(*in.CustomKeyStoreId)
	case in.CustomKeyStoreName != nil:
		return nil, noKeyStore(*in.CustomKeyStoreName)
	case in.Marker != nil:
		return nil, &types.InvalidMarkerException{Message: aws.String("The marker is not valid.")}
	}
	return &kms.DescribeCustomKeyStoresOutput{CustomKeyStores: []types.CustomKeyStoresListEntry{}}, nil
}

// ConnectCustomKeyStore finds no store.
func (s *Service) ConnectCustomKeyStore(ctx context.Context, in *kms.ConnectCustomKeyStoreInput) (*kms.ConnectCustomKeyStoreOutput, error) {
	return nil, s.refuseStore(ctx, "kms:ConnectCustomKeyStore", in.CustomKeyStoreId)
}

// DisconnectCustomKeyStore finds no store.
func (s *Service) DisconnectCustomKeyStore(ctx context.Context, in *kms.DisconnectCustomKeyStoreInput) (*kms.DisconnectCustomKeyStoreOutput, error) {
	return nil, s.refuseStore(ctx, "kms:DisconnectCustomKeyStore", in.CustomKeyStoreId)
}

// UpdateCustomKeyStore finds no store.
func (s *Service) UpdateCustomKeyStore(ctx context.Context, in *kms.UpdateCustomKeyStoreInput) (*kms.UpdateCustomKeyStoreOutput, error) {
	return nil, s.refuseStore(ctx, "kms:UpdateCustomKeyStore", in.CustomKeyStoreId)
}

// DeleteCustomKeyStore finds no store.
func (s *Service) DeleteCustomKeyStore(ctx context.Context, in *kms.DeleteCustomKeyStoreInput) (*kms.DeleteCustomKeyStoreOutput, error) {
	return nil, s.refuseStore(ctx, "kms:DeleteCustomKeyStore", in.CustomKeyStoreId)
}

func (s *Service) authorizeKeyStores(ctx context.Context, action string) error {
	return s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: "*"})
}

func (s *Service) refuseStore(ctx context.Context, action string, id *string) error {
	if err := s.authorizeKeyStores(ctx, action); err != nil {
		return err
	}
	return noKeyStore(aws.ToString(id))
}

func noKeyStore(name string) error {
	return &types.CustomKeyStoreNotFoundException{Message: aws.String("Custom key store " + name + " does not exist.")}
}

// refuseKeyStore refuses a key that is to be in a custom key store.
func refuseKeyStore(in *kms.CreateKeyInput, origin types.OriginType) error {
	inStore := origin == types.OriginTypeAwsCloudhsm || origin == types.OriginTypeExternalKeyStore
	switch {
	case inStore && in.CustomKeyStoreId == nil:
		return validation("You must specify a CustomKeyStoreId when the Origin is %s.", origin)
	case !inStore && in.CustomKeyStoreId != nil:
		return validation("You cannot specify a CustomKeyStoreId when the Origin is %s.", origin)
	case origin != types.OriginTypeExternalKeyStore && in.XksKeyId != nil:
		return validation("You can specify an XksKeyId only when the Origin is %s.", types.OriginTypeExternalKeyStore)
	case inStore:
		return noKeyStore(*in.CustomKeyStoreId)
	}
	return nil
}
