# What a team that leaves ECS has in its Terraform: unchanged but for the endpoint, which
# the environment gives.
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

data "aws_caller_identity" "me" {}

resource "aws_kms_key" "shop" {
  description             = "the shop's secrets"
  deletion_window_in_days = 7
  tags                    = { team = "shop" }
}

resource "aws_kms_alias" "shop" {
  name          = "alias/shop"
  target_key_id = aws_kms_key.shop.key_id
}

resource "aws_secretsmanager_secret" "db" {
  name                    = "shop/db"
  description             = "the database"
  kms_key_id              = aws_kms_key.shop.arn
  recovery_window_in_days = 7
  tags                    = { team = "shop" }
}

resource "aws_secretsmanager_secret_version" "db" {
  secret_id     = aws_secretsmanager_secret.db.id
  secret_string = jsonencode({ username = "shop", password = var.password })
}

resource "aws_ssm_parameter" "key" {
  name        = "/shop/api-key"
  description = "the API key"
  type        = "SecureString"
  value       = var.password
  key_id      = aws_kms_key.shop.arn
  tags        = { team = "shop" }
}

resource "aws_ssm_parameter" "plain" {
  name  = "/shop/host"
  type  = "String"
  value = "db.internal"
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "secrets" {
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.db.arn]
  }
  statement {
    actions   = ["ssm:GetParameters"]
    resources = [aws_ssm_parameter.key.arn]
  }
  statement {
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.shop.arn]
  }
}

resource "aws_iam_role" "execution" {
  name               = "shop-execution"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = { team = "shop" }
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_iam_role_policy" "secrets" {
  name   = "secrets"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.secrets.json
}

resource "aws_iam_policy" "app" {
  name = "shop-app"
  path = "/shop/"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "secretsmanager:DescribeSecret", Resource = "*" }]
  })
}

resource "aws_iam_role" "task" {
  name               = "shop-task"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy_attachment" "task" {
  role       = aws_iam_role.task.name
  policy_arn = aws_iam_policy.app.arn
}

resource "aws_ecs_cluster" "shop" {
  name = "shop"
  tags = { team = "shop" }
}

resource "aws_ecs_task_definition" "shop" {
  family             = "shop"
  execution_role_arn = aws_iam_role.execution.arn
  task_role_arn      = aws_iam_role.task.arn
  network_mode       = "bridge"
  container_definitions = jsonencode([{
    name      = "app"
    image     = "shop/app"
    memory    = 64
    essential = true
    portMappings = [{ containerPort = 8080 }]
    secrets = [
      { name = "DB_PASSWORD", valueFrom = "${aws_secretsmanager_secret.db.arn}:password::" },
      { name = "API_KEY", valueFrom = aws_ssm_parameter.key.arn },
    ]
  }])
  tags = { team = "shop" }
}

output "task_definition" {
  value = aws_ecs_task_definition.shop.arn
}

resource "aws_kms_key" "logs" {
  description = "the logs of the shop"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Principal = { AWS = "arn:aws:iam::123456789012:root" }, Action = "kms:*", Resource = "*" },
      { Effect = "Allow", Principal = { Service = "logs.us-east-1.amazonaws.com" }, Action = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"], Resource = "*",
      Condition = { ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/shop" } } },
    ]
  })
}

resource "aws_cloudwatch_log_group" "shop" {
  name              = "/ecs/shop"
  retention_in_days = 14
  kms_key_id        = aws_kms_key.logs.arn
  tags              = { team = "shop" }
}

resource "aws_cloudwatch_log_stream" "shop" {
  name           = "app"
  log_group_name = aws_cloudwatch_log_group.shop.name
}
