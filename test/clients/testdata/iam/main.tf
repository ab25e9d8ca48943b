# What a team on ECS has of IAM: users, groups, roles of tasks and of hosts, the service's
# own role. Applied in one go, so that what refers to what just came to be must work.
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

# Given at the second apply, which changes what it is in.
variable "again" {
  type    = string
  default = ""
}

data "aws_caller_identity" "me" {}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.me.account_id]
    }
  }
}

data "aws_iam_policy_document" "read" {
  statement {
    sid       = "Read"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["arn:aws:secretsmanager:*:${data.aws_caller_identity.me.account_id}:secret:shop/*"]
  }
  statement {
    effect    = "Deny"
    actions   = ["secretsmanager:*"]
    resources = ["*"]
    condition {
      test     = "StringNotEquals"
      variable = "aws:PrincipalTag/team"
      values   = ["shop"]
    }
  }
}

resource "aws_iam_account_alias" "shop" {
  account_alias = "the-shop${var.again}"
}

resource "aws_iam_policy" "read" {
  name        = "shop-read"
  path        = "/shop/"
  description = "reads the shop's secrets"
  policy      = data.aws_iam_policy_document.read.json
  tags        = { team = "shop", Team = "Shop${var.again}" }
}

resource "aws_iam_role" "task" {
  name                 = "shop-task"
  path                 = "/shop/"
  description          = "of the shop's tasks${var.again}"
  assume_role_policy   = data.aws_iam_policy_document.tasks.json
  max_session_duration = var.again == "" ? 7200 : 3600
  permissions_boundary = var.again == "" ? aws_iam_policy.read.arn : null
  tags                 = merge({ team = "shop" }, var.again == "" ? { old = "" } : { new = "" })
}

resource "aws_iam_role_policy" "task" {
  name   = "inline"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_iam_role_policy_attachment" "task" {
  role       = aws_iam_role.task.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.task.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_iam_role" "host" {
  name = "shop-host"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com", AWS = [aws_iam_user.robot.arn, aws_iam_role.task.arn] }
    }]
  })
  force_detach_policies = true
}

resource "aws_iam_instance_profile" "host" {
  name = "shop-host"
  path = "/shop/"
  role = var.again == "" ? aws_iam_role.host.name : aws_iam_role.task.name
  tags = { team = "shop${var.again}" }
}

resource "aws_iam_service_linked_role" "ecs" {
  aws_service_name = "ecs.amazonaws.com"
  description      = "ECS's own${var.again}"
  tags             = { team = "shop${var.again}" }
}

resource "aws_iam_user" "robot" {
  name                 = "shop-robot"
  path                 = "/robots${var.again}/"
  permissions_boundary = aws_iam_policy.read.arn
  force_destroy        = true
  tags                 = { team = "shop" }
}

resource "aws_iam_access_key" "robot" {
  user   = aws_iam_user.robot.name
  status = var.again == "" ? "Active" : "Inactive"
}

resource "aws_iam_user_policy" "robot" {
  name   = "inline"
  user   = aws_iam_user.robot.name
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_iam_user_policy_attachment" "robot" {
  user       = aws_iam_user.robot.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_user" "person" {
  for_each = toset(["ann", "ben"])
  name     = each.key
}

resource "aws_iam_group" "readers" {
  name = "readers"
  path = "/shop${var.again}/"
}

resource "aws_iam_group" "robots" {
  name = "robots"
}

resource "aws_iam_group_policy" "readers" {
  name   = "inline"
  group  = aws_iam_group.readers.name
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_iam_group_policy_attachment" "readers" {
  group      = aws_iam_group.readers.name
  policy_arn = "arn:aws:iam::aws:policy/IAMReadOnlyAccess"
}

resource "aws_iam_group_membership" "readers" {
  name  = "readers"
  group = aws_iam_group.readers.name
  users = [for p in aws_iam_user.person : p.name if var.again == "" || p.name != "ben"]
}

resource "aws_iam_user_group_membership" "robot" {
  user   = aws_iam_user.robot.name
  groups = [aws_iam_group.robots.name]
}

resource "aws_iam_policy_attachment" "audit" {
  name       = "audit"
  policy_arn = aws_iam_policy.audit.arn
  users      = [aws_iam_user.person["ann"].name]
  roles      = [aws_iam_role.host.name]
  groups     = [aws_iam_group.readers.name]
}

resource "aws_iam_policy" "audit" {
  name_prefix = "audit-"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = { Effect = "Allow", Action = "iam:Get${var.again}*", Resource = "*" }
  })
}

data "aws_iam_role" "task" {
  name = aws_iam_role.task.name
}

data "aws_iam_policy" "read" {
  arn = aws_iam_policy.read.arn
}

data "aws_iam_policy" "execution" {
  name = "AmazonECSTaskExecutionRolePolicy"
}

data "aws_iam_user" "robot" {
  user_name = aws_iam_user.robot.name
}

data "aws_iam_group" "readers" {
  group_name = aws_iam_group.readers.name
  depends_on = [aws_iam_group_membership.readers]
}

data "aws_iam_instance_profile" "host" {
  name = aws_iam_instance_profile.host.name
}

data "aws_iam_account_alias" "me" {
  depends_on = [aws_iam_account_alias.shop]
}

data "aws_iam_principal_policy_simulation" "read" {
  action_names      = ["secretsmanager:GetSecretValue"]
  policy_source_arn = aws_iam_role.task.arn
  resource_arns     = ["arn:aws:secretsmanager:us-east-1:${data.aws_caller_identity.me.account_id}:secret:shop/db-AbCdEf"]
  depends_on        = [aws_iam_role_policy.task, aws_iam_role_policy_attachment.task]

  lifecycle {
    postcondition {
      condition     = self.all_allowed
      error_message = "The role may not read the secret: ${jsonencode(self.results)}"
    }
  }
}

output "seen" {
  value = join(" ", [
    data.aws_iam_role.task.description, data.aws_iam_policy.read.name, data.aws_iam_policy.execution.path, data.aws_iam_user.robot.path,
    length(data.aws_iam_group.readers.users), data.aws_iam_instance_profile.host.role_name, data.aws_iam_account_alias.me.account_alias,
  ])
}
