# A pipeline's identity: what GitHub's or GitLab's documentation has people write.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region = "us-east-1"
}

variable "password" {
  type      = string
  sensitive = true
}

resource "aws_iam_openid_connect_provider" "pipeline" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
  tags           = { team = "shop" }
}

resource "aws_iam_openid_connect_provider" "own" {
  url             = "https://gitlab.example.com/realm"
  client_id_list  = ["https://gitlab.example.com", "sts.amazonaws.com"]
  thumbprint_list = ["990F4193972F2BECF12DDEDA5237F9C952F20D9E", "cf23df2207d99a74fbe169e3eba035e633b65d94"]
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.pipeline.arn]
    }
    condition {
      test     = "StringLike"
      variable = "token.actions.githubusercontent.com:sub"
      values   = ["repo:example/shop:*"]
    }
  }
}

resource "aws_iam_role" "deploy" {
  name               = "deploy"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

data "aws_iam_openid_connect_provider" "pipeline" {
  url = "https://${aws_iam_openid_connect_provider.pipeline.url}"
}

output "same" {
  value = data.aws_iam_openid_connect_provider.pipeline.arn == aws_iam_openid_connect_provider.pipeline.arn
}
