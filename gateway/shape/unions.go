package shape

import (
	"reflect"

	ecsdocument "github.com/aws/aws-sdk-go-v2/service/ecs/document"
	ecs "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	iam "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// unions lists the variants of each union, because reflection cannot ask an interface
// who satisfies it. A test walks every operation of the services and fails when one is
// missing here.
var unions = map[reflect.Type][]reflect.Type{
	reflect.TypeFor[ecs.DescribeGatewayConfiguration]():         {reflect.TypeFor[ecs.DescribeGatewayConfigurationMemberHostSharedAlb]()},
	reflect.TypeFor[ecs.GatewayConfiguration]():                 {reflect.TypeFor[ecs.GatewayConfigurationMemberHostSharedAlb]()},
	reflect.TypeFor[ecs.GatewayConnectionResources]():           {reflect.TypeFor[ecs.GatewayConnectionResourcesMemberHostSharedAlb]()},
	reflect.TypeFor[ecs.GatewayElbAccessLogDestination]():       {reflect.TypeFor[ecs.GatewayElbAccessLogDestinationMemberS3]()},
	reflect.TypeFor[ecs.GatewayInfrastructureResources]():       {reflect.TypeFor[ecs.GatewayInfrastructureResourcesMemberHostSharedAlb]()},
	reflect.TypeFor[ecs.GatewayRouteResources]():                {reflect.TypeFor[ecs.GatewayRouteResourcesMemberHostSharedAlb]()},
	reflect.TypeFor[ecs.ServiceConnectContainerConfiguration](): {reflect.TypeFor[ecs.ServiceConnectContainerConfigurationMemberLogLevel]()},
	reflect.TypeFor[ecs.SharingStrategy]():                      {reflect.TypeFor[ecs.SharingStrategyMemberNvidiaMps]()},
	reflect.TypeFor[ecs.UpdateGatewayConfiguration]():           {reflect.TypeFor[ecs.UpdateGatewayConfigurationMemberHostSharedAlb]()},
	reflect.TypeFor[iam.PolicyIdentifier](): {
		reflect.TypeFor[iam.PolicyIdentifierMemberInlinePolicyIdentifier](),
		reflect.TypeFor[iam.PolicyIdentifierMemberPolicyArn](),
		reflect.TypeFor[iam.PolicyIdentifierMemberPolicyType](),
	},
}

// documents makes, for each service's type of free-form document, one that holds a
// decoded JSON value.
var documents = map[reflect.Type]func(any) any{
	reflect.TypeFor[ecsdocument.Interface](): func(v any) any { return ecsdocument.NewLazyDocument(v) },
}

// NewDocument returns a document of type t, of kind Document, that holds v: nil, a bool,
// a string, a smithy document.Number, an []any or a map[string]any.
func (t *Type) NewDocument(v any) reflect.Value {
	return reflect.ValueOf(documents[t.Go](v))
}
