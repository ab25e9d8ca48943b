terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "password" {
  type      = string
  sensitive = true
}

data "aws_caller_identity" "me" {}

resource "aws_kms_key" "bucket" {
  description = "the bucket's"
}

resource "aws_s3_bucket" "secrets" {
  bucket        = "shop-secrets"
  force_destroy = true
  tags          = { team = "shop" }
}

resource "aws_s3_bucket_versioning" "secrets" {
  bucket = aws_s3_bucket.secrets.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "secrets" {
  bucket = aws_s3_bucket.secrets.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.bucket.arn
    }
    bucket_key_enabled = true
  }
}

resource "aws_s3_bucket_public_access_block" "secrets" {
  bucket                  = aws_s3_bucket.secrets.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "secrets" {
  bucket = aws_s3_bucket.secrets.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "secrets" {
  bucket = aws_s3_bucket.secrets.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OthersNever"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:GetObject"
      Resource  = "${aws_s3_bucket.secrets.arn}/*"
      Condition = { ArnNotLike = { "aws:PrincipalArn" = data.aws_caller_identity.me.arn } }
    }]
  })
}

resource "aws_s3_bucket_lifecycle_configuration" "secrets" {
  bucket = aws_s3_bucket.secrets.id
  rule {
    id     = "old"
    status = "Enabled"
    filter {
      prefix = "tmp/"
    }
    expiration {
      days = 3
    }
    noncurrent_version_expiration {
      noncurrent_days = 5
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_object" "env" {
  bucket     = aws_s3_bucket.secrets.id
  key        = "app/config.env"
  content    = "PASSWORD=${var.password}\n"
  depends_on = [aws_s3_bucket_server_side_encryption_configuration.secrets, aws_s3_bucket_versioning.secrets]
}
